"""DistilBERT: BERT without segments."""

from ortolan_exporters.architectures.base import Architecture

DISTILBERT = Architecture("distilbert")
