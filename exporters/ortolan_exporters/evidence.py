"""What every precision is measured against: texts, and what torch answers to them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from ortolan.manifest import GoldenOutputs
from ortolan.postprocess.activations import FloatArray
from ortolan.request import TextInput
from ortolan.session.base import Array, Session
from ortolan.tokenize import Encoding, Tokenizer
from ortolan.verify import golden_sample
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.data import builtin_texts, read_texts
from ortolan_exporters.errors import CheckpointError
from ortolan_exporters.heads.base import Examples
from ortolan_exporters.quality import Agreement, Alignment, Metric, agreement, mean_squared_difference
from ortolan_exporters.reference import Feed, feed_of, predict, session_run, torch_run
from ortolan_exporters.resolve import Checkpoint
from ortolan_exporters.validate import validation_batches

MAX_CALIBRATION_TEXTS = 512
MAX_DAMAGE_TEXTS = 128
"""Texts on which layers are ranked, and ways to find ranges: a graph is made and run for each of them."""

NUM_GOLDEN = 4
NUM_GOLDEN_VALUES = 64
"""Numbers kept of the outputs for one golden text: enough to see that they are the same, few enough to be stored."""


class Evidence:
    """Texts, batches, and torch's answers, each computed once.

    Attributes:
        checkpoint: The model.
        tokenizer: As the runtime will load it.
        encodings: The calibration texts, as the head is asked them.
        max_drop: Most that the metric may fall.
        golden: Texts that are stored with what every precision answers to them.
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
        plain = self.tokenizer.encode(texts, self._cut)
        self._check_ids(texts, plain)
        self.encodings = checkpoint.head.prepare(plain, checkpoint.tokenizer)
        self.measure = checkpoint.head.measure(checkpoint.config)
        self._run = torch_run(checkpoint)
        self._examples = self._read_examples(config)
        self.golden = list(zip(texts, plain, strict=True))[:NUM_GOLDEN]

    @cached_property
    def batches(self) -> list[Feed]:
        """Batches for parity: texts alone, padded together, and random tokens up to the longest row."""
        return validation_batches(self.checkpoint, self.tokenizer, self.encodings)

    @cached_property
    def batch_outputs(self) -> list[Mapping[str, Array]]:
        """Torch's outputs for `batches`."""
        return [self._run(feed) for feed in self.batches]

    @cached_property
    def calibration_answers(self) -> list[FloatArray]:
        """Torch's answers to the calibration texts, float32 [D, C] for each."""
        what = "torch on the calibration texts"
        return predict(self._run, self.checkpoint, self.tokenizer, self.encodings, what)

    @cached_property
    def _torch_score(self) -> float:
        assert self._examples is not None  # asked for where there are examples
        what = "torch on the labelled texts"
        answers = predict(self._run, self.checkpoint, self.tokenizer, self._examples.encodings, what)
        return self.checkpoint.head.score(answers, self._examples.answers)

    def answers(self, session: Session) -> list[FloatArray]:
        """Answers of a graph to the calibration texts, float32 [D, C] for each."""
        return predict(session_run(session), self.checkpoint, self.tokenizer, self.encodings)

    def damage(self, session: Session) -> float:
        """Mean squared difference of a graph's answers to torch's, on texts spread over the calibration ones."""
        step = max(1, len(self.encodings) // MAX_DAMAGE_TEXTS)
        answers = predict(session_run(session), self.checkpoint, self.tokenizer, self.encodings[::step])
        return mean_squared_difference(answers, self.calibration_answers[::step])

    def agreement(self, session: Session) -> Agreement | Alignment:
        """Compare a graph's answers with torch's on the calibration texts."""
        return agreement(self.calibration_answers, self.answers(session), self.measure)

    def metric(self, session: Session) -> Metric | None:
        """Score torch and a graph on the labelled texts; None if there are none."""
        examples, head = self._examples, self.checkpoint.head
        if examples is None:
            return None
        what = "the graph on the labelled texts"
        answers = predict(session_run(session), self.checkpoint, self.tokenizer, examples.encodings, what)
        this = head.score(answers, examples.answers)
        return Metric(head.metric, len(examples.answers), self._torch_score, this)

    def golden_outputs(self, session: Session, tolerance: float) -> GoldenOutputs:
        """Run the golden texts, each alone: an int8 result depends on its neighbours in a batch."""
        run = session_run(session)
        rows = [run(feed_of(self.checkpoint, self.tokenizer, [encoding])) for _, encoding in self.golden]
        return GoldenOutputs([golden_sample(row, NUM_GOLDEN_VALUES) for row in rows], tolerance)

    def _read_examples(self, config: ExportConfig) -> Examples | None:
        if config.eval_data is None:
            return None
        checkpoint = self.checkpoint
        return checkpoint.head.read(config.eval_data, checkpoint.tokenizer, checkpoint.config, self._cut.max_length)

    def _check_ids(self, texts: list[TextInput], encodings: list[Encoding]) -> None:
        """The artifact's tokenizer must be the checkpoint's, and the model must have a row for each id."""
        name = self.checkpoint.source["name"]
        vocabulary = self.checkpoint.config.vocab_size
        for item, encoding in zip(texts, encodings, strict=True):
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
        texts = checkpoint.head.texts() or builtin_texts()
    # spread over the file, which may be sorted by source or label
    return texts[:: max(1, len(texts) // MAX_CALIBRATION_TEXTS)][:MAX_CALIBRATION_TEXTS]
