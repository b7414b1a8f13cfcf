"""Llama, SmolLM2: a decoder with rotary positions, whose heads share keys and values."""

from ortolan_exporters.architectures.base import Architecture

LLAMA = Architecture("llama", positions_by="rotary")
