"""Which token an answer goes on with, of a model with encoder and decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from ortolan.model import DECODER_IDS
from ortolan.postprocess.activations import FloatArray
from ortolan.session.base import Array
from ortolan.teacher_forcing import decoder_start_id, shift_right
from ortolan_exporters.errors import CheckpointError
from ortolan_exporters.example_inputs import DECODER_SEQUENCE
from ortolan_exporters.heads.base import Axes, Examples, Head
from ortolan_exporters.heads.text_generation import some_places


class Text2TextGeneration(Head):
    """`logits`, float32 [B, T, V], for what the decoder has written, int64 [B, T], on a text, int64 [B, S].

    Where nobody says what has been written, it is the text itself, as the runtime has it too.
    """

    task = "text2text-generation"
    classes = "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES"
    inputs = (DECODER_IDS,)
    outputs: ClassVar[Mapping[str, Axes]] = {"logits": ("batch", DECODER_SEQUENCE, "vocabulary")}
    writes = True
    metric = ""
    least_agreement = 0.9

    def answer(self, module: Any, inputs: Mapping[str, torch.Tensor], **options: Any) -> dict[str, Any]:
        """Ask a module, without a cache; see `Head.answer`."""
        given = {"use_cache": False, **inputs, **options}
        if DECODER_IDS not in given:
            given[DECODER_IDS] = torch.from_numpy(shift_right(inputs["input_ids"].numpy(), start_of(module)))
        return {**module(**given)}

    def decisions(self, outputs: Mapping[str, Array], feed: Mapping[str, Array], tokenizer: Any) -> list[FloatArray]:
        """The next token at some places of each answer; see `Head.decisions`."""
        real = feed["attention_mask"].astype(bool)
        return [some_places(row[mask]) for row, mask in zip(outputs["logits"], real, strict=True)]

    def read(self, path: Path, tokenizer: Any, config: Any, max_length: int) -> Examples:
        """Refuse: one text has many right answers."""
        raise CheckpointError(
            f"evaluation on '{path}' requested",
            "what is written is compared with torch's and with nothing else",
            "leave the data out",
        )

    def score(self, decisions: Sequence[FloatArray], answers: Sequence[Any]) -> float:
        """Never asked: there are no examples."""
        raise NotImplementedError


def start_of(module: Any) -> int:
    """Find the token that the decoder of a module begins with, as the runtime finds it in the files."""
    generation = getattr(module, "generation_config", None)
    return decoder_start_id(module.config.to_dict(), {} if generation is None else generation.to_dict())
