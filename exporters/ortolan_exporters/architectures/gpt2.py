"""GPT-2 as a classifier and a tagger: each token sees those before it; the last one speaks for the text."""

from ortolan_exporters.architectures.base import Architecture

GPT2 = Architecture("gpt2")
