"""ELECTRA: BERT, its embeddings perhaps narrower than its layers."""

from ortolan_exporters.architectures.base import Architecture

ELECTRA = Architecture("electra")
