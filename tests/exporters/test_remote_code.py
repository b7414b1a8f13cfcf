"""Python code that comes with a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from transformers import dynamic_module_utils

from ortolan import Model
from ortolan.cli import main
from ortolan_exporters import CheckpointError, ExportWarning, UnsupportedArchitectureError, export, resolve
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.example_inputs import Vocabulary, example_batch
from tests import tiny
from tests.engine.damage import as_hub_snapshot, edit_json

CODE = """
from pathlib import Path
from transformers import BertConfig, BertForSequenceClassification

Path({marker!r}).touch()


class MineConfig(BertConfig):
    model_type = "{kind}"


class MineForSequenceClassification(BertForSequenceClassification):
    config_class = MineConfig

    def forward(self, *arguments, **options):
        found = super().forward(*arguments, **options)
        found.logits = found.logits * 2
        return found
"""


@pytest.fixture(scope="module", autouse=True)
def _own_modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Code that is run is copied to a folder of this module, and forgotten with it."""
    folder = tmp_path_factory.mktemp("modules")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(folder))
        patch.setattr(sys, "path", list(sys.path))
        yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers_modules"]:
        del sys.modules[name]


def with_code(tmp_path: Path, kind: str = "mine", code: str = CODE) -> Path:
    """A checkpoint whose class is in a file of its own, which leaves a mark where it runs."""
    folder = tiny.save_checkpoint(tmp_path / "checkpoint", tiny.bert())
    (folder / "modeling_mine.py").write_text(code.format(marker=str(tmp_path / "ran"), kind=kind), encoding="utf-8")
    classes = {
        "AutoConfig": "modeling_mine.MineConfig",
        "AutoModelForSequenceClassification": "modeling_mine.MineForSequenceClassification",
    }
    edit_json(folder / "config.json", lambda config: config.update(model_type=kind, auto_map=classes))
    return folder


def as_saved_by_it(folder: Path) -> Path:
    """The checkpoint of `with_code`, as its own class has saved it."""
    own = {"architectures": ["MineForSequenceClassification"]}
    edit_json(folder / "config.json", lambda config: config.update(own))
    return folder


def ran(tmp_path: Path) -> bool:
    return (tmp_path / "ran").exists()


def test_code_that_would_have_to_run_is_refused_and_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = as_saved_by_it(with_code(tmp_path))
    assert main(["export", str(folder), "-o", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"ortolan export: error: checkpoint '{folder}' requested, code of its own would have to run "
        "(modeling_mine.py), for transformers does not know model_type 'mine'; "
        "read the code, and pass --trust-remote-code (trust_remote_code=True) if you trust it"
    )
    assert not ran(tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [None, 3, ["bert"]], ids=["missing", "number", "list"])
def test_type_that_is_none_is_refused_too(tmp_path: Path, kind: object) -> None:
    folder = with_code(tmp_path)
    edit_json(folder / "config.json", lambda config: config.update(model_type=kind))
    with pytest.raises(CheckpointError, match=r"code of its own would have to run \(modeling_mine\.py\)"):
        resolve.resolve(folder, None, ExportConfig())
    assert not ran(tmp_path)


@pytest.mark.parity
def test_code_that_is_trusted_is_exported_and_stays_behind(tmp_path: Path) -> None:
    folder = as_saved_by_it(with_code(tmp_path))
    artifact = export(folder, tmp_path / "out", precisions=("fp32",), trust_remote_code=True)
    assert ran(tmp_path)
    feed = example_batch(("input_ids", "attention_mask", "token_type_ids"), 3, 9, vocabulary=Vocabulary(100, 0))
    with torch.inference_mode():
        plain = tiny.bert()(**{name: torch.from_numpy(array) for name, array in feed.items()}).logits.numpy()
    np.testing.assert_allclose(Model.load(artifact.folder, "cpu")(**feed).logits, 2 * plain, atol=1e-4)
    assert artifact.manifest.architecture == "mine"
    assert list(artifact.folder.rglob("*.py")) == []
    assert "auto_map" not in (artifact.folder / "config.json").read_text(encoding="utf-8")


def test_type_that_transformers_knows_is_its_own_and_a_warning_says_so(tmp_path: Path) -> None:
    folder = with_code(tmp_path, "bert")
    message = r"code of its own \(modeling_mine\.py\) is not run; the classes of transformers are used"
    with pytest.warns(ExportWarning, match=message):
        found = resolve.resolve(folder, None, ExportConfig())
    assert type(found.module) is transformers.BertForSequenceClassification
    assert not ran(tmp_path)


def test_type_that_transformers_knows_is_the_checkpoint_s_where_it_is_trusted(tmp_path: Path) -> None:
    folder = as_saved_by_it(with_code(tmp_path, "bert"))
    found = resolve.resolve(folder, None, ExportConfig(trust_remote_code=True))
    assert type(found.module).__name__ == "MineForSequenceClassification"
    assert not found.architecture.is_fusable, "what its attention is like is not known"
    assert ran(tmp_path)


def test_task_that_its_code_has_no_class_for_is_refused(tmp_path: Path) -> None:
    folder = with_code(tmp_path)
    with pytest.raises(UnsupportedArchitectureError, match="mine is exported for text-classification"):
        resolve.resolve(folder, None, ExportConfig(trust_remote_code=True, task="fill-mask"))


def test_code_that_fails_is_told(tmp_path: Path) -> None:
    folder = as_saved_by_it(with_code(tmp_path, "bert", "import no_such_package\n"))
    with pytest.raises(CheckpointError, match="no_such_package"):
        resolve.resolve(folder, None, ExportConfig(trust_remote_code=True))


def test_trust_alone_runs_nothing_where_there_is_no_code(distilbert_checkpoint: Path) -> None:
    found = resolve.resolve(distilbert_checkpoint, None, ExportConfig(trust_remote_code=True))
    assert type(found.module) is transformers.DistilBertForSequenceClassification
    assert found.architecture.is_fusable


# Tokenizers

TOKENIZER = """
from pathlib import Path
from transformers import PreTrainedTokenizerFast

Path({marker!r}).touch()


class MineTokenizerFast(PreTrainedTokenizerFast):
    pass
"""


def with_tokenizer_code(tmp_path: Path) -> Path:
    folder = tiny.save_checkpoint(tmp_path / "words", tiny.bert())
    (folder / "tokenization_mine.py").write_text(TOKENIZER.format(marker=str(tmp_path / "ran")), encoding="utf-8")
    own = {
        "tokenizer_class": "MineTokenizerFast",
        "auto_map": {"AutoTokenizer": [None, "tokenization_mine.MineTokenizerFast"]},
    }
    edit_json(folder / "tokenizer_config.json", lambda settings: settings.update(own))
    return folder


def test_code_of_a_tokenizer_does_not_run_unasked(tmp_path: Path) -> None:
    with pytest.warns(ExportWarning, match=r"code of its own \(tokenization_mine\.py\) is not run"):
        found = resolve.resolve(with_tokenizer_code(tmp_path), None, ExportConfig())
    assert type(found.tokenizer).__name__ != "MineTokenizerFast"
    assert not ran(tmp_path)


def test_code_of_a_tokenizer_runs_when_it_is_trusted(tmp_path: Path) -> None:
    found = resolve.resolve(with_tokenizer_code(tmp_path), None, ExportConfig(trust_remote_code=True))
    assert type(found.tokenizer).__name__ == "MineTokenizerFast"
    assert ran(tmp_path)


# From the Hub


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "not trusted"])
def test_code_is_fetched_from_the_hub_only_if_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    patterns: list[str] = []

    def download(name: str, **options: object) -> None:
        patterns.extend(options["patterns"])
        raise KeyboardInterrupt

    monkeypatch.setattr(resolve, "download", download)
    with pytest.raises(KeyboardInterrupt):
        resolve.resolve("org/name", None, ExportConfig(trust_remote_code=trusted))
    assert ("*.py" in patterns) is trusted


def test_code_from_the_hub_runs_when_it_is_trusted(tmp_path: Path) -> None:
    folder = as_saved_by_it(with_code(tmp_path))
    as_hub_snapshot(folder, tmp_path / "hub" / "models--org--name", "a" * 40)
    with pytest.raises(CheckpointError, match="checkpoint 'org/name' requested, code of its own would have to run"):
        resolve.resolve("org/name", None, ExportConfig())
    assert not ran(tmp_path)
    found = resolve.resolve("org/name", None, ExportConfig(trust_remote_code=True))
    assert type(found.module).__name__ == "MineForSequenceClassification"
    assert found.source["name"] == "org/name"
