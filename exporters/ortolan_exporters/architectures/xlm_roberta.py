"""XLM-R: RoBERTa in a hundred languages."""

from ortolan_exporters.architectures.base import Architecture

XLM_ROBERTA = Architecture("xlm-roberta", position_offset=2)
