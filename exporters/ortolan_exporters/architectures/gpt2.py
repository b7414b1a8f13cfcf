"""GPT-2: it writes; and as a classifier and a tagger, where each token sees those before it and the last speaks for the text."""

from ortolan_exporters.architectures.base import Architecture

GPT2 = Architecture("gpt2", positions_by="table")
