"""BERT. Measured on MiniLM-L6 (22.7M): fp32 logits within 5e-6 of torch."""

from ortolan_exporters.architectures.base import Architecture

BERT = Architecture("bert")
