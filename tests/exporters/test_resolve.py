"""From a name to a module, and every way in which that goes wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
import transformers

from benchmarks import zoo
from ortolan.errors import ConfigError, MissingFileError, UnknownTaskError
from ortolan_exporters import CheckpointError, UnsupportedArchitectureError
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.example_inputs import Vocabulary
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
    transformers.ViTConfig().save_pretrained(checkpoint)
    with pytest.raises(UnsupportedArchitectureError, match="'vit' requested, .*; use one of albert, bart, bert, "):
        load(checkpoint)


def test_model_type_that_nobody_knows_lists_those_there_are(checkpoint: Path) -> None:
    edit_config(checkpoint, model_type="hal9000")
    with pytest.raises(UnsupportedArchitectureError, match="'hal9000' requested, .*; use one of albert, bart, bert, "):
        load(checkpoint)


def test_unknown_task_lists_those_there_are(checkpoint: Path) -> None:
    with pytest.raises(UnknownTaskError, match="task 'telepathy' requested"):
        load(checkpoint, task="telepathy")


def test_checkpoint_of_no_known_class_asks_for_a_task(checkpoint: Path) -> None:
    edit_config(checkpoint, architectures=["BertForPreTraining"])
    with pytest.raises(UnknownTaskError, match=r"saved as \['BertForPreTraining'\]; pass task="):
        load(checkpoint)


def test_base_checkpoint_gives_hidden_states(checkpoint: Path) -> None:
    tiny.bert().bert.save_pretrained(checkpoint)
    found = load(checkpoint)
    assert (found.task, type(found.module).__name__) == ("feature-extraction", "BertModel")
    assert found.outputs == {"last_hidden_state": ("batch", "sequence", 32)}
    assert found.source["new_weights"] == []


def test_pooler_that_hidden_states_do_not_need_may_be_missing(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    tiny.save_checkpoint(checkpoint, transformers.BertForMaskedLM(tiny.bert().config))
    found = load(checkpoint, task="feature-extraction")
    assert found.source["new_weights"] == []


def test_module_list_makes_a_base_checkpoint_an_embedder(tmp_path: Path) -> None:
    folder = zoo.save(tmp_path / "embedder", "mpnet", "sentence-embedding")
    found = load(folder)
    assert found.task == "sentence-embedding"
    assert list(found.outputs) == ["last_hidden_state", "sentence_embedding"]
    assert found.transformer is found.module.transformer
    assert found.config is found.transformer.config
    assert found.max_length == 94
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 20}', encoding="utf-8")
    assert load(folder).max_length == 20
    assert load(folder, task="feature-extraction").max_length == 94, "the limit is the embedder's"


def test_embedder_without_a_module_list_is_refused(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="sentence embeddings of .* requested, it carries no modules.json"):
        load(checkpoint, task="sentence-embedding")


def test_half_precision_checkpoint_is_read_as_float32(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    module = load(tiny.save_checkpoint(checkpoint, tiny.bert().to(torch.float16))).module
    assert {value.dtype for value in module.state_dict().values() if value.is_floating_point()} == {torch.float32}
    wanted = tiny.bert().to(torch.float16).classifier.weight.float()
    assert torch.equal(module.classifier.weight, wanted)


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


def test_new_head_has_as_many_classes_as_asked_and_needs_training(checkpoint: Path) -> None:
    with pytest.warns(
        UserWarning, match="classifier.bias, classifier.weight are new, from seed 7; the head needs trai"
    ):
        found = load(checkpoint, num_labels=10, seed=7)
    assert found.outputs == {"logits": ("batch", 10)}
    assert found.source["new_weights"] == ["classifier.bias", "classifier.weight"]


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


def test_limits_of_model_and_tokenizer_are_both_kept() -> None:
    module = tiny.bert()
    assert resolve(module, tiny.tokenizer(max_length=16), ExportConfig()).max_length == 16
    assert resolve(module, tiny.tokenizer(max_length=1000), ExportConfig()).max_length == 64


def test_model_without_a_limit_reads_as_much_as_t5_was_trained_with() -> None:
    module = zoo.model_for("t5", "feature-extraction", max_position_embeddings=None)
    words = zoo.tokenizer_for("t5")
    words.model_max_length = int(1e30)
    assert resolve(module, words, ExportConfig(task="feature-extraction")).max_length == 512


def test_random_tokens_are_drawn_from_those_of_the_model() -> None:
    found = resolve(tiny.bert(), tiny.tokenizer(), ExportConfig())
    assert found.vocabulary == Vocabulary(found.config.vocab_size, pad_id=0, end_id=None)
    bart = resolve(zoo.model_for("bart", "text-classification"), zoo.tokenizer_for("bart"), ExportConfig())
    assert bart.vocabulary == Vocabulary(600, pad_id=1, end_id=2)


def test_task_of_a_module_is_that_of_its_class() -> None:
    tagger = zoo.model_for("bert", "token-classification")
    assert resolve(tagger, zoo.tokenizer_for("bert"), ExportConfig()).task == "token-classification"
    body = zoo.model_for("bert", "feature-extraction")
    assert resolve(body, zoo.tokenizer_for("bert"), ExportConfig()).task == "feature-extraction"


def test_padding_of_a_tokenizer_without_one_is_its_end_token() -> None:
    words = zoo.tokenizer_for("gpt2")
    assert words.pad_token is None
    module = zoo.model_for("gpt2", "text-classification", pad_token_id=None)
    found = resolve(module, words, ExportConfig())
    assert found.tokenizer.pad_token == "<|endoftext|>"
    assert found.config.pad_token_id == found.tokenizer.pad_token_id
    assert module.config.pad_token_id is None, "the caller's module is not changed"


def test_tokenizer_without_padding_and_end_is_refused() -> None:
    words = zoo.tokenizer_for("gpt2")
    words.eos_token = None
    with pytest.raises(CheckpointError, match="neither a padding token nor an end token to use for one; set tokenizer"):
        resolve(zoo.model_for("gpt2", "text-classification"), words, ExportConfig())


def test_tokenizer_with_more_tokens_than_embeddings_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"it has \d+ tokens and the model 20 embeddings"):
        resolve(tiny.bert(vocab_size=20), tiny.tokenizer(), ExportConfig())


def test_layers_that_are_asked_for_are_declared_after_the_outputs_of_the_head(checkpoint: Path) -> None:
    found = load(checkpoint, outputs=("hidden_states", "attentions"))
    assert list(found.outputs) == [
        "logits",
        *(f"hidden_states.{layer}" for layer in range(3)),
        *(f"attentions.{layer}" for layer in range(2)),
    ]
    assert found.outputs["hidden_states.0"] == ("batch", "sequence", 32)
    assert found.outputs["attentions.1"] == ("batch", 4, "sequence", "sequence")


def test_layers_that_a_model_does_not_return_are_refused() -> None:
    bart, words = zoo.model_for("bart", "text-classification"), zoo.tokenizer_for("bart")
    with pytest.raises(
        UnsupportedArchitectureError,
        match=r"outputs logits, hidden_states requested, BartForSequenceClassification does not return them",
    ):
        resolve(bart, words, ExportConfig(outputs=("hidden_states",)))


def test_model_that_reads_no_text_is_refused() -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    module = transformers.ViTModel(transformers.ViTConfig(**sizes))
    with pytest.raises(UnsupportedArchitectureError, match="'vit' requested"):
        resolve(module, tiny.tokenizer(), ExportConfig(task="feature-extraction"))
