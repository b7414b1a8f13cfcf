"""Checkpoints and their artifacts, each made once, and the count of what was compared."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import ortolan
from ortolan import Model, TruncatedWarning
from tests import checkpoints
from tests.parity.compare import assert_same, compared


@dataclass(frozen=True)
class Both:
    """A checkpoint, and the artifact that was made of it.

    Attributes:
        folder: The checkpoint.
        model: The artifact, loaded.
    """

    folder: Path
    model: Model

    def ours(self, task: str, **options: Any) -> Callable[..., Any]:
        """This project's pipeline."""
        return _quiet(ortolan.pipeline(task, self.model, **options))

    def theirs(self, task: str, **options: Any) -> Callable[..., Any]:
        """The pipeline of transformers, in float32 on the CPU, with the class that the checkpoint was saved from.

        Features of a model with a decoder are those of its encoder: an artifact has no more.
        """
        [name] = transformers.AutoConfig.from_pretrained(self.folder).architectures
        module = getattr(transformers, name).from_pretrained(self.folder, dtype=torch.float32)
        if task == "feature-extraction" and module.config.is_encoder_decoder:
            module = module.get_encoder()
        return _quiet(transformers.pipeline(task, module, tokenizer=self.tokenizer, device="cpu", **options))

    @functools.cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, as transformers loads it."""
        return transformers.AutoTokenizer.from_pretrained(self.folder)

    def check(self, task: str, inputs: Any, what: object = "", **options: Any) -> None:
        """Both must answer alike."""
        ours, theirs = self._pipelines(task)
        self.compare(task, ours(inputs, **options), theirs(inputs, **options), what)

    def compare(self, task: str, ours: Any, theirs: Any, what: object = "") -> None:
        """Two answers must be alike."""
        assert_same(ours, theirs, task, f"{self.folder.parent.name} {what}")

    def check_all(self, task: str, inputs: dict[str, Any], **options: Any) -> None:
        """Both must answer alike to some inputs in a list, and this project to each of them alone.

        transformers runs a list one by one, so that what it answers to an input does not depend on the others.
        """
        ours, theirs = self._pipelines(task)
        many = list(inputs.values())
        expected = theirs(many, **options)
        for what, mine, other in zip(inputs, ours(many, **options), expected, strict=True):
            self.compare(task, mine, other, f"{what}, in a list")
        # a lone string comes back in a list here
        is_odd = task == "text-classification" and "top_k" not in options
        for (what, one), other in zip(inputs.items(), expected, strict=True):
            self.compare(task, ours(one, **options), [other] if is_odd and isinstance(one, str) else other, what)

    @functools.cache  # noqa: B019 - as many as there are checkpoints
    def _pipelines(self, task: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
        return self.ours(task), self.theirs(task)


Served = Callable[..., Both]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread: models as small as these gain nothing by a second one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Make a checkpoint and export it, once for each set of arguments; see `checkpoints.checkpoint`."""

    @functools.cache
    def once(model_type: str, task: str, tokenizer_kind: str, max_positions: int = 520) -> Both:
        folder = tmp_path_factory.mktemp(f"{model_type}-{tokenizer_kind}")
        made = checkpoints.checkpoint(
            folder / "checkpoint", model_type, task, tokenizer_kind, max_position_embeddings=max_positions
        )
        artifact = checkpoints.artifact(made, folder / "artifact", task)
        return Both(made, Model.load(artifact.folder, "cpu"))

    return once


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many cases were compared."""
    if compared:
        each = ", ".join(f"{task} {count}" for task, count in sorted(compared.items()))
        terminalreporter.write_line(f"parity: {sum(compared.values())} cases compared with transformers ({each})")


def _quiet(pipe: Callable[..., Any]) -> Callable[..., Any]:
    """Call without warnings: of texts that are cut, and of tokenizers that know no words. Tests of their own ask for
    them."""

    def call(*args: Any, **options: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncatedWarning)
            warnings.filterwarnings("ignore", "Tokenizer does not support real words", UserWarning)
            found = pipe(*args, **options)
            return list(found) if isinstance(found, Iterator) else found

    return call
