"""RoBERTa: positions start after that of the padding token, and there are no segments."""

from ortolan_exporters.architectures.base import Architecture

ROBERTA = Architecture("roberta", position_offset=2)
