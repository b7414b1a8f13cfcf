"""From a name to a module, and every way in which that goes wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
import transformers

from ortolan.errors import ConfigError, MissingFileError, UnknownTaskError
from ortolan_exporters import CheckpointError, UnsupportedArchitectureError
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.resolve import Checkpoint, resolve
from tests import tiny


@pytest.fixture
def checkpoint(bert_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT, free to be damaged."""
    return Path(shutil.copytree(bert_checkpoint, tmp_path / "tiny-bert"))


def load(folder: object, **options: object) -> Checkpoint:
    return resolve(folder, None, ExportConfig(**options))


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, **changes}), encoding="utf-8")


def test_task_and_architecture_are_read_from_the_checkpoint(checkpoint: Path) -> None:
    found = load(checkpoint)
    assert (found.task, found.architecture.model_type, found.max_length) == ("text-classification", "bert", 64)
    assert found.source == {
        "name": "tiny-bert",
        "revision": None,
        "new_weights": [],
        "parameters": sum(value.numel() for value in tiny.bert().parameters()),
    }


def test_missing_folder_is_named() -> None:
    with pytest.raises(MissingFileError, match="checkpoint './nowhere' requested, there is no such folder"):
        load("./nowhere")


def test_hub_id_without_network_says_so() -> None:
    with pytest.raises(MissingFileError, match="model 'org/unheard-of' requested, .*the Hub gave nothing"):
        load("org/unheard-of")


def test_folder_without_config_is_refused(checkpoint: Path) -> None:
    (checkpoint / "config.json").unlink()
    with pytest.raises(CheckpointError, match="the folder has no config.json; pass a folder that save_pretrained"):
        load(checkpoint)


def test_unsupported_architecture_lists_those_there_are(checkpoint: Path) -> None:
    transformers.GPT2Config().save_pretrained(checkpoint)
    with pytest.raises(UnsupportedArchitectureError, match="'gpt2' requested, .*; use one of bert, distilbert"):
        load(checkpoint)


def test_model_type_that_nobody_knows_lists_those_there_are(checkpoint: Path) -> None:
    edit_config(checkpoint, model_type="hal9000")
    with pytest.raises(UnsupportedArchitectureError, match="'hal9000' requested, .*; use one of bert, distilbert"):
        load(checkpoint)


def test_unknown_task_lists_those_there_are(checkpoint: Path) -> None:
    with pytest.raises(UnknownTaskError, match="task 'telepathy' requested"):
        load(checkpoint, task="telepathy")


def test_base_checkpoint_without_head_asks_for_a_task(checkpoint: Path) -> None:
    edit_config(checkpoint, architectures=["BertModel"])
    with pytest.raises(UnknownTaskError, match=r"saved as \['BertModel'\]; pass task="):
        load(checkpoint)


def test_alias_of_a_task_is_understood(checkpoint: Path) -> None:
    assert load(checkpoint, task="sentiment-analysis").task == "text-classification"


def test_pickle_is_not_read_unasked(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    torch.save(tiny.bert().state_dict(), checkpoint / "pytorch_model.bin")
    with pytest.raises(
        CheckpointError, match=r"only pickles \(pytorch_model.bin\), which can run code; pass --allow-p"
    ):
        load(checkpoint)


def test_pickle_is_read_when_asked(checkpoint: Path) -> None:
    weights = safetensors.torch.load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    torch.save(weights, checkpoint / "pytorch_model.bin")
    found = load(checkpoint, allow_pickle=True)
    assert torch.equal(found.module.state_dict()["classifier.weight"], weights["classifier.weight"])


class _Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("evil"),))


def test_pickle_that_would_run_code_is_refused_even_when_asked(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (checkpoint / "model.safetensors").unlink()
    torch.save({"classifier.weight": _Evil()}, checkpoint / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="they cannot be loaded"):
        load(checkpoint, allow_pickle=True)
    assert not (tmp_path / "evil").exists()


def test_folder_without_weights_is_refused(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"the folder has no \*.safetensors"):
        load(checkpoint)


def test_damaged_weights_are_refused(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").write_bytes(b"not safetensors at all")
    with pytest.raises(CheckpointError, match="weights of .* requested, they cannot be loaded"):
        load(checkpoint)


def test_weights_of_the_body_that_are_missing_are_an_error(checkpoint: Path) -> None:
    weights = safetensors.torch.load_file(checkpoint / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.weight"]
    safetensors.torch.save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="1 are missing, such as bert.encoder.layer.1.output.dense.weight"):
        load(checkpoint)


def test_weights_with_nan_are_refused(checkpoint: Path) -> None:
    weights = safetensors.torch.load_file(checkpoint / "model.safetensors")
    weights["classifier.bias"][0] = torch.nan
    safetensors.torch.save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="classifier.bias hold NaN or infinity"):
        load(checkpoint)


def test_tokenizer_that_is_missing_is_an_error(checkpoint: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (checkpoint / name).unlink()
    with pytest.raises(
        CheckpointError, match="tokenizer of .* requested, the folder has none of tokenizer.json, vocab.txt"
    ):
        load(checkpoint)


def test_config_entry_that_does_not_exist_lists_those_that_do(checkpoint: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"config n_heads requested, the config of bert has no such entry; .*hidden_size"
    ):
        load(checkpoint, overrides={"n_heads": 8})


def test_shape_that_the_weights_do_not_fit_asks_for_from_scratch(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="pass from_scratch"):
        load(checkpoint, overrides={"hidden_size": 64})


def test_new_head_is_the_same_for_the_same_seed(checkpoint: Path) -> None:
    with pytest.warns(UserWarning, match="the head needs training"):
        first, second, other = (
            load(checkpoint, num_labels=5, seed=seed).module.classifier.weight for seed in (3, 3, 4)
        )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_module_without_tokenizer_is_refused() -> None:
    with pytest.raises(CheckpointError, match="it came without a tokenizer; pass tokenizer="):
        load(tiny.bert())


def test_module_that_is_not_of_transformers_is_refused() -> None:
    with pytest.raises(UnsupportedArchitectureError, match="export of Linear requested"):
        resolve(torch.nn.Linear(2, 2), tiny.tokenizer(), ExportConfig())


def test_config_that_is_not_json_is_refused(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match="config.json cannot be read"):
        load(checkpoint)


def test_config_value_of_the_wrong_type_is_told(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="config hidden_size='wide' requested"):
        load(checkpoint, overrides={"hidden_size": "wide"})


def test_config_entries_that_do_not_go_together_are_told(checkpoint: Path) -> None:
    changes = {"hidden_size": 30, "num_attention_heads": 4}
    with pytest.warns(UserWarning, match="random weights"), pytest.raises(ConfigError, match="there is no such model"):
        load(checkpoint, overrides=changes, from_scratch=True)


def test_weights_read_into_a_changed_config_warn(checkpoint: Path) -> None:
    with pytest.warns(UserWarning, match="weights trained with another config are read into a changed one"):
        load(checkpoint, overrides={"num_attention_heads": 2})


def test_export_leaves_the_random_numbers_of_the_caller_alone(checkpoint: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with pytest.warns(UserWarning, match="needs training"):
        load(checkpoint, num_labels=4)
    assert torch.equal(torch.rand(3), expected)


def test_module_with_nan_is_refused() -> None:
    module = tiny.bert()
    with torch.no_grad():
        module.classifier.bias[0] = torch.nan
    with pytest.raises(CheckpointError, match="classifier.bias hold NaN or infinity"):
        resolve(module, tiny.tokenizer(), ExportConfig())


def test_revision_of_a_folder_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match="revision 'main' requested, .* is a folder, which has none"):
        load(checkpoint, revision="main")
