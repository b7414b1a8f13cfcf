"""mT5: T5 with other words."""

from dataclasses import replace

from ortolan_exporters.architectures.t5 import T5

MT5 = replace(T5, model_type="mt5", classes={**T5.classes, "feature-extraction": "MT5EncoderModel"})
