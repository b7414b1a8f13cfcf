"""GPT-2: each token sees those before it. It writes, and tags; as a classifier, the last one speaks for the text."""

from ortolan_exporters.architectures.base import Architecture

GPT2 = Architecture("gpt2", positions_by="table")
