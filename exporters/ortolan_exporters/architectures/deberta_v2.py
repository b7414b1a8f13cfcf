"""DeBERTa-v2 and v3: scores of content and of position are added up, which no fused operator does."""

from ortolan_exporters.architectures.base import Architecture

DEBERTA_V2 = Architecture("deberta-v2", is_fusable=False)
