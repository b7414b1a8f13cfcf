"""What every precision is measured against: texts, and what torch answers to them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from ortolan.manifest import GoldenOutputs
from ortolan.postprocess.activations import FloatArray
from ortolan.request import TextInput
from ortolan.session.base import Session
from ortolan.tasks.classify import default_activation
from ortolan.tokenize import Encoding, Tokenizer
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.data import Labelled, builtin_texts, read_labelled, read_texts
from ortolan_exporters.errors import CheckpointError
from ortolan_exporters.quality import Agreement, Metric, accuracy, agreement
from ortolan_exporters.reference import Feed, predict, session_run, torch_run
from ortolan_exporters.resolve import Checkpoint
from ortolan_exporters.validate import validation_batches

MAX_CALIBRATION_TEXTS = 512
NUM_GOLDEN = 4


class Evidence:
    """Texts, batches, and torch's answers, each computed once.

    Attributes:
        checkpoint: The model.
        tokenizer: As the runtime will load it.
        max_drop: Most that the metric may fall.
    """

    def __init__(self, checkpoint: Checkpoint, work: Path, config: ExportConfig) -> None:
        """Tokenize the texts.

        Args:
            checkpoint: The model.
            work: Folder in which the tokenizer has been saved.
            config: Says which texts.

        Raises:
            CheckpointError: The saved tokenizer gives other ids than that of transformers, or ids beyond the
                vocabulary.
            InvalidInputError: A line of a data file that can't be used.
            MissingFileError: A data file that is not there.
        """
        self.checkpoint = checkpoint
        self.max_drop = config.max_drop
        self.tokenizer = Tokenizer.load(work, max_length=checkpoint.max_length)
        self._cut = self.tokenizer.truncation(True, None)
        texts = _calibration_texts(checkpoint, config)
        self._encodings = self.tokenizer.encode(texts, self._cut)
        self._check_ids(texts)
        self.activation = default_activation(checkpoint.module.config.to_dict())
        self._run = torch_run(checkpoint)
        self._labelled = self._read_labelled(config)
        self.golden = list(zip(texts, self._encodings, strict=True))[:NUM_GOLDEN]

    @cached_property
    def batches(self) -> list[Feed]:
        """Batches for parity: texts alone, padded together, and random tokens up to the longest row."""
        vocabulary = self.checkpoint.module.config.vocab_size
        return validation_batches(self.checkpoint.architecture, self.tokenizer, self._encodings, vocabulary)

    @cached_property
    def batch_logits(self) -> list[FloatArray]:
        """Torch's logits for `batches`."""
        return [self._run(feed) for feed in self.batches]

    @cached_property
    def calibration_logits(self) -> FloatArray:
        """Torch's logits for the calibration texts, float32 [n, V]."""
        return predict(self._run, self.tokenizer, self._encodings, "torch on the calibration texts")

    @cached_property
    def _torch_accuracy(self) -> float:
        logits = predict(self._run, self.tokenizer, self._eval_encodings, "torch on the labelled texts")
        return accuracy(logits, self._labels)

    @cached_property
    def _eval_encodings(self) -> list[Encoding]:
        return self.tokenizer.encode([row.input for row in self._labelled], self._cut)

    @property
    def _labels(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array([row.label for row in self._labelled], np.int64)

    def answer(self, session: Session) -> FloatArray:
        """Logits of a graph on the calibration texts, float32 [n, V]."""
        return predict(session_run(session), self.tokenizer, self._encodings)

    def agreement(self, session: Session) -> Agreement:
        """Compare a graph's answers with torch's on the calibration texts."""
        return agreement(self.calibration_logits, self.answer(session), self.activation)

    def metric(self, session: Session) -> Metric | None:
        """Accuracy of torch and of a graph on the labelled texts; None if there are none."""
        if not self._labelled:
            return None
        logits = predict(session_run(session), self.tokenizer, self._eval_encodings, "the graph on the labelled texts")
        return Metric("accuracy", len(self._labelled), self._torch_accuracy, accuracy(logits, self._labels))

    def golden_outputs(self, session: Session, tolerance: float) -> GoldenOutputs:
        """Run the golden texts, each alone: an int8 result depends on its neighbours in a batch."""
        run = session_run(session)
        rows = [run(self.tokenizer.pad([encoding]))[0] for _, encoding in self.golden]
        return GoldenOutputs([[float(value) for value in row] for row in rows], tolerance)

    def _read_labelled(self, config: ExportConfig) -> list[Labelled]:
        if config.eval_data is None:
            return []
        if self.activation != "softmax":
            raise CheckpointError(
                f"evaluation on '{config.eval_data}' requested",
                "accuracy needs a model with one label a text",
                "leave the data out; the gate then goes by differences to torch",
            )
        return read_labelled(config.eval_data, self.checkpoint.module.config.id2label)

    def _check_ids(self, texts: list[TextInput]) -> None:
        """The artifact's tokenizer must be the checkpoint's, and the model must have a row for each id."""
        name = self.checkpoint.source["name"]
        vocabulary = self.checkpoint.module.config.vocab_size
        for item, encoding in zip(texts, self._encodings, strict=True):
            expected = self.checkpoint.tokenizer(
                item.text, item.text_pair, truncation=True, max_length=self._cut.max_length
            )
            segments = expected.get("token_type_ids", [0] * len(encoding.ids))
            if (encoding.ids, encoding.type_ids) != (expected["input_ids"], segments):
                raise CheckpointError(
                    f"tokenizer of '{name}' requested",
                    f"without transformers it gives other ids for {item.text[:60]!r}",
                    "please report this",
                )
            if max(encoding.ids) >= vocabulary:
                raise CheckpointError(
                    f"tokenizer of '{name}' requested",
                    f"it gives id {max(encoding.ids)} and the model has {vocabulary} embeddings",
                    "pass the tokenizer that the model was trained with",
                )


def _calibration_texts(checkpoint: Checkpoint, config: ExportConfig) -> list[TextInput]:
    own = None if checkpoint.folder is None else checkpoint.folder / "calibration.jsonl"
    if config.calibration is not None:
        texts = read_texts(config.calibration)
    elif own is not None and own.is_file():
        texts = read_texts(own)
    else:
        texts = builtin_texts()
    # spread over the file, which may be sorted by source or label
    return texts[:: max(1, len(texts) // MAX_CALIBRATION_TEXTS)][:MAX_CALIBRATION_TEXTS]
