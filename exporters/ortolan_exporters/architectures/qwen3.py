"""Qwen3: as Llama, with normalized queries and keys."""

from ortolan_exporters.architectures.base import Architecture

QWEN3 = Architecture("qwen3", positions_by="rotary")
