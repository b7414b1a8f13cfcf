"""Mistral: as Llama, and looks back through a window."""

from ortolan_exporters.architectures.base import Architecture

MISTRAL = Architecture("mistral", positions_by="rotary")
