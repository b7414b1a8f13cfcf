"""DistilBERT: BERT without segments."""

from ortolan_exporters.architectures.base import Architecture

DISTILBERT = Architecture(
    model_type="distilbert",
    heads={"text-classification": "DistilBertForSequenceClassification"},
    inputs=("input_ids", "attention_mask"),
)
