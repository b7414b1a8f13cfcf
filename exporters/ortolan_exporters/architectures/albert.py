"""ALBERT: one layer, run as often as the config says; its weights stand in the graph once."""

from ortolan_exporters.architectures.base import Architecture

ALBERT = Architecture("albert")
