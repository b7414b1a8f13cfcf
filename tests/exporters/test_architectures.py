"""Architectures: what is known of each, and that the graph of each answers as torch does."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.mpnet.modeling_mpnet import MPNetSelfAttention

import ortolan
import ortolan_exporters.architectures
from benchmarks import zoo
from ortolan import Model
from ortolan.errors import OrtolanError, UnknownTaskError
from ortolan_exporters import ToleranceError, UnsupportedArchitectureError, export, recipe
from ortolan_exporters.architectures.base import Architecture, inputs_of, last_token
from ortolan_exporters.architectures.generic import generic_architecture
from ortolan_exporters.architectures.registry import ARCHITECTURES, architecture_of, class_name, task_of, tasks_of
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.heads.registry import HEADS
from ortolan_exporters.resolve import Checkpoint, resolve
from ortolan_exporters.trace import trace
from tests.exporters.parity import check_forms

QUICK = {
    "bert": "token-classification",
    "albert": "fill-mask",
    "t5": "feature-extraction",
    "modernbert": "text-classification",
    "gpt2": "text-classification",
    "bart": "text-classification",
    "deberta-v2": "question-answering",
    "mpnet": "sentence-embedding",
}
"""One architecture for each mechanism, and among them every task."""

REST = [
    (model_type, task)
    for model_type, architecture in ARCHITECTURES.items()
    for task in tasks_of(architecture)
    if QUICK.get(model_type) != task and not (HEADS[task].writes and architecture.positions_by)
]
"""Those that write over a cache are in test_cached.py."""

REFUSED: dict[str, type[OrtolanError]] = {
    "funnel": ToleranceError,  # its pooling leaves a graph for one length
}
"""Types whose graphs the gate refuses."""

Traced = Callable[[str], tuple[Checkpoint, ir.Model]]


@pytest.fixture(scope="session")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    """Trace the quick case of an architecture, once. What it returns is not to be changed."""

    @functools.cache
    def once(model_type: str) -> tuple[Checkpoint, ir.Model]:
        folder = zoo.save(tmp_path_factory.mktemp(model_type) / "checkpoint", model_type, QUICK[model_type])
        checkpoint = resolve(folder, None, ExportConfig(task=QUICK[model_type]))
        return checkpoint, trace(checkpoint)["model"]

    return once


def attentions(graph: ir.Model) -> list[ir.Node]:
    return [node for node in graph.graph if node.op_type == "MultiHeadAttention"]


def biases(graph: ir.Model) -> list[ir.Value]:
    """What each fused operator adds to its scores."""
    return [node.inputs[5] for node in attentions(graph) if len(node.inputs) > 5 and node.inputs[5] is not None]


@pytest.mark.parity
def test_bert_is_fused_with_its_padding_mask_and_has_three_forms(traced: Traced, tmp_path: Path) -> None:
    checkpoint, graph = traced("bert")
    assert checkpoint.inputs == ("input_ids", "attention_mask", "token_type_ids")
    assert list(check_forms(checkpoint, graph, tmp_path)) == ["fused", "unfused", "packed"]
    assert (len(attentions(graph)), biases(graph)) == (2, [])


@pytest.mark.parity
def test_albert_stores_the_weights_of_its_layers_once(traced: Traced, tmp_path: Path) -> None:
    checkpoint, graph = traced("albert")
    assert checkpoint.config.num_hidden_layers == 3
    fused = check_forms(checkpoint, graph, tmp_path)["fused"]
    shapes = collections.Counter(tuple(value.shape) for value in fused.graph.initializers.values())
    feed_forward = {(48, 96): 1, (96, 48): 1}  # 48 in, 96 between: one matrix each, not three
    assert {shape: shapes[shape] for shape in feed_forward} == feed_forward
    assert shapes[48, 48] == 4, "query, key, value and output"
    assert shapes[600, 24] + shapes[24, 600] == 1, "the head reads the embeddings"


@pytest.mark.parity
def test_relative_positions_of_t5_are_a_bias_of_the_scores(traced: Traced, tmp_path: Path) -> None:
    checkpoint, graph = traced("t5")
    check_forms(checkpoint, graph, tmp_path)
    assert checkpoint.outputs == {"last_hidden_state": ("batch", "sequence", 48)}
    assert len(biases(graph)) == len(attentions(graph)) == 2


@pytest.mark.parity
def test_local_layers_of_modernbert_have_a_mask_of_their_own(traced: Traced, tmp_path: Path) -> None:
    checkpoint, graph = traced("modernbert")
    assert checkpoint.config.local_attention == 8, "shorter than the batches"
    check_forms(checkpoint, graph, tmp_path)
    with_bias = [len(node.inputs) > 5 and node.inputs[5] is not None for node in attentions(graph)]
    assert with_bias == [False, True], "the first layer looks everywhere, the second near by"


@pytest.mark.parity
def test_gpt2_sees_what_came_before_and_is_padded_with_its_end_token(traced: Traced, tmp_path: Path) -> None:
    checkpoint, graph = traced("gpt2")
    assert checkpoint.tokenizer.pad_token == checkpoint.tokenizer.eos_token == "<|endoftext|>"
    assert checkpoint.vocabulary.pad_id == checkpoint.config.pad_token_id == checkpoint.tokenizer.eos_token_id
    check_forms(checkpoint, graph, tmp_path)
    assert len(biases(graph)) == 2


@pytest.mark.parity
def test_bart_classifies_by_its_last_end_token(traced: Traced, tmp_path: Path) -> None:
    checkpoint, graph = traced("bart")
    assert checkpoint.vocabulary.end_id == checkpoint.tokenizer.eos_token_id
    check_forms(checkpoint, graph, tmp_path)
    assert len(attentions(graph)) == 6, "two layers look at themselves, two more at themselves and at the first two"


@pytest.mark.parity
def test_deberta_keeps_its_own_attention(traced: Traced, tmp_path: Path) -> None:
    checkpoint, graph = traced("deberta-v2")
    assert list(check_forms(checkpoint, graph, tmp_path)) == ["own"]
    assert list(checkpoint.outputs) == ["start_logits", "end_logits"]


@pytest.mark.parity
def test_mpnet_is_patched_while_it_is_traced_and_restored(traced: Traced, tmp_path: Path) -> None:
    before = MPNetSelfAttention.forward
    checkpoint, graph = traced("mpnet")
    assert MPNetSelfAttention.forward is before
    check_forms(checkpoint, graph, tmp_path)
    assert len(biases(graph)) == len(attentions(graph)) == 2
    assert checkpoint.outputs == {
        "last_hidden_state": ("batch", "sequence", 48),
        "sentence_embedding": ("batch", 48),
    }


@pytest.mark.parity
@pytest.mark.parametrize("model_type", ["bert", "albert", "t5", "bart", "deberta-v2", "mpnet"], ids=QUICK.get)
def test_artifact_of_each_task_opens_answers_and_verifies(
    traced: Traced, model_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, graph = traced(model_type)
    monkeypatch.setattr(recipe, "trace", lambda _: {"model": graph.clone()})  # traced already, and checked above
    artifact = export(checkpoint.folder, tmp_path / "out", QUICK[model_type], precisions=("fp32",))
    assert artifact.manifest.task == QUICK[model_type]
    assert artifact.manifest.precisions["fp32"].parity["max_difference"] <= 1e-3
    assert [check.name for check in ortolan.verify(artifact.folder) if not check.passed] == []
    model = Model.load(artifact.folder, "cpu")
    outputs = model(**model.tokenizer(["A short text.", "And a second one, which has some more words."]))
    assert list(outputs) == list(HEADS[QUICK[model_type]].outputs)
    assert all(np.isfinite(output).all() and len(output) == 2 for output in outputs.values())


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize(("model_type", "task"), REST, ids=lambda part: part)
def test_every_other_architecture_and_head_answers_as_torch_does(model_type: str, task: str, tmp_path: Path) -> None:
    checkpoint = resolve(zoo.save(tmp_path / "checkpoint", model_type, task), None, ExportConfig(task=task))
    check_forms(checkpoint, trace(checkpoint)["model"], tmp_path)


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize("model_type", sorted(zoo.TOKENIZERS.keys() - ARCHITECTURES.keys() - REFUSED.keys()))
def test_architecture_without_a_file_of_its_own_answers_as_torch_does(model_type: str, tmp_path: Path) -> None:
    task = "text-classification"
    checkpoint = resolve(zoo.save(tmp_path / "checkpoint", model_type, task), None, ExportConfig(task=task))
    check_forms(checkpoint, trace(checkpoint)["model"], tmp_path)


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize(("model_type", "error"), REFUSED.items())
def test_architecture_whose_graph_is_not_the_model_is_not_published(
    model_type: str, error: type[OrtolanError], tmp_path: Path
) -> None:
    checkpoint = zoo.save(tmp_path / "checkpoint", model_type, "text-classification")
    with pytest.raises(error):
        export(checkpoint, tmp_path / "out", precisions=("fp32",))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def config_of(model_type: str, **entries: object) -> transformers.PretrainedConfig:
    return transformers.AutoConfig.for_model(model_type, **entries)


def choose_task(model_type: str, saved: str | None, asked: str | None = None, **flags: bool) -> str:
    config = config_of(model_type, architectures=None if saved is None else [saved])
    return task_of(ARCHITECTURES[model_type], config, asked, **{"has_new_head": False, "has_modules": False, **flags})


def test_each_architecture_has_a_file_named_after_it() -> None:
    folder = Path(ortolan_exporters.architectures.__file__).parent
    files = {path.stem.replace("_", "-") for path in folder.glob("*.py")}
    assert files - {"--init--", "base", "registry", "generic"} == set(ARCHITECTURES)


def test_each_architecture_serves_a_task_and_its_classes_exist() -> None:
    for architecture in ARCHITECTURES.values():
        names = [class_name(architecture, task) for task in tasks_of(architecture)]
        assert names
        assert [name for name in names if not hasattr(transformers, str(name))] == []


@pytest.mark.parametrize(
    ("model_type", "task", "expected"),
    [
        ("bert", "fill-mask", "BertForMaskedLM"),
        ("roberta", "sentence-embedding", "RobertaModel"),
        ("t5", "feature-extraction", "T5EncoderModel"),
        ("t5", "question-answering", None),
        ("bart", "fill-mask", None),
        ("gpt2", "fill-mask", None),
        ("gpt2", "text-generation", "GPT2LMHeadModel"),
        ("bert", "text-generation", None),
        ("bart", "text-generation", None),
        ("bart", "text2text-generation", "BartForConditionalGeneration"),
        ("t5", "text2text-generation", "T5ForConditionalGeneration"),
        ("gpt2", "text2text-generation", None),
    ],
)
def test_class_of_a_head_is_that_of_transformers_but_for_some(model_type: str, task: str, expected: str | None) -> None:
    assert class_name(ARCHITECTURES[model_type], task) == expected


@pytest.mark.parametrize(
    ("saved", "flags", "expected"),
    [
        ("BertForTokenClassification", {}, "token-classification"),
        ("BertForQuestionAnswering", {}, "question-answering"),
        ("BertForMaskedLM", {}, "fill-mask"),
        ("BertModel", {}, "feature-extraction"),
        ("BertModel", {"has_modules": True}, "sentence-embedding"),
        ("BertModel", {"has_new_head": True}, "text-classification"),
        ("BertModel", {"has_new_head": True, "has_modules": True}, "text-classification"),
        ("BertForPreTraining", {"has_new_head": True}, "text-classification"),
        ("BertForTokenClassification", {"has_new_head": True}, "token-classification"),
    ],
    ids=lambda part: "+".join(part) or "as saved" if isinstance(part, dict) else part,
)
def test_task_is_that_of_the_saved_class(saved: str, flags: dict[str, bool], expected: str) -> None:
    assert choose_task("bert", saved, **flags) == expected


@pytest.mark.parametrize(
    ("model_type", "saved", "expected"),
    [
        ("gpt2", "GPT2LMHeadModel", "text-generation"),
        ("llama", "LlamaForCausalLM", "text-generation"),
        ("t5", "T5ForConditionalGeneration", "text2text-generation"),
        ("bart", "BartForConditionalGeneration", "text2text-generation"),
        ("mbart", "MBartForConditionalGeneration", "text2text-generation"),
        ("marian", "MarianMTModel", "text2text-generation"),
    ],
)
def test_model_that_was_saved_to_write_is_exported_to_write(model_type: str, saved: str, expected: str) -> None:
    config = config_of(model_type, architectures=[saved])
    assert task_of(architecture_of(config), config, None, has_new_head=False, has_modules=False) == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("ner", "token-classification"), ("sentence-similarity", "sentence-embedding"), ("fill-mask", "fill-mask")],
)
def test_task_that_is_asked_for_wins(asked: str, expected: str) -> None:
    assert choose_task("bert", "BertForSequenceClassification", asked, has_modules=True) == expected


def test_task_without_a_head_lists_those_that_have_one() -> None:
    with pytest.raises(
        UnsupportedArchitectureError, match="task 'fill-mask' requested, gpt2 is exported for text-classification, "
    ):
        choose_task("gpt2", None, "fill-mask")


@pytest.mark.parametrize("saved", [None, "BertForPreTraining"])
def test_class_that_serves_no_task_asks_for_one(saved: str | None) -> None:
    with pytest.raises(UnknownTaskError, match=r"saved as .*; pass task= \(one of text-classification, "):
        choose_task("bert", saved)


def test_type_with_a_file_is_found_and_any_other_with_a_head_is_generic() -> None:
    assert architecture_of(config_of("bert")) is ARCHITECTURES["bert"]
    camembert = architecture_of(config_of("camembert"))
    assert (camembert.model_type, camembert.position_offset, camembert.is_fusable) == ("camembert", 2, True)
    assert camembert.positions(config_of("camembert", max_position_embeddings=514)) == 512


def test_generic_architecture_with_capped_scores_is_not_fused() -> None:
    assert not generic_architecture(config_of("gemma2")).is_fusable
    assert generic_architecture(config_of("gemma2", attn_logit_softcapping=None)).is_fusable


def test_generic_architecture_asks_for_an_end_token_where_there_is_a_decoder() -> None:
    assert generic_architecture(config_of("mbart")).needs_end
    assert not generic_architecture(config_of("camembert")).needs_end


@pytest.mark.parametrize("model_type", ["groupvit_text_model", None])
def test_type_without_a_head_that_is_known_is_refused(model_type: str | None) -> None:
    config = transformers.PretrainedConfig() if model_type is None else config_of(model_type)
    with pytest.raises(UnsupportedArchitectureError, match="no encoder or classifier of that type; use one of albert,"):
        architecture_of(config)


@pytest.mark.parametrize(
    ("config", "parameters", "expected"),
    [
        (config_of("bert"), {"input_ids", "token_type_ids"}, ("input_ids", "attention_mask", "token_type_ids")),
        (config_of("roberta", type_vocab_size=1), {"input_ids", "token_type_ids"}, ("input_ids", "attention_mask")),
        (config_of("distilbert"), {"input_ids"}, ("input_ids", "attention_mask")),
    ],
    ids=["two segments", "one for everything", "no segments"],
)
def test_segments_are_read_where_there_is_more_than_one(
    config: transformers.PretrainedConfig, parameters: set[str], expected: tuple[str, ...]
) -> None:
    assert inputs_of(config, frozenset(parameters)) == expected


@pytest.mark.parametrize(
    ("model_type", "entries", "expected"),
    [
        ("bert", {"max_position_embeddings": 512}, 512),
        ("roberta", {"max_position_embeddings": 514}, 512),
        ("gpt2", {"n_positions": 1024}, 1024),
        ("t5", {}, None),
        ("deberta-v2", {"max_position_embeddings": -1}, None),
    ],
)
def test_positions_are_those_that_a_token_can_have(
    model_type: str, entries: dict[str, int], expected: int | None
) -> None:
    assert ARCHITECTURES[model_type].positions(config_of(model_type, **entries)) == expected


@given(rows=st.lists(st.lists(st.booleans(), min_size=4, max_size=4).filter(any), min_size=1, max_size=5))
def test_last_token_is_the_last_of_those_that_qualify(rows: list[list[bool]]) -> None:
    values = torch.arange(len(rows) * 4 * 2, dtype=torch.float32).reshape(len(rows), 4, 2)
    expected = [values[row, max(i for i, one in enumerate(marks) if one)].tolist() for row, marks in enumerate(rows)]
    assert last_token(values, torch.tensor(rows)).tolist() == expected


def test_architecture_of_its_own_defaults_to_an_encoder() -> None:
    plain = Architecture("anything")
    assert (plain.is_fusable, plain.needs_end, plain.position_offset, plain.tolerance) == (True, False, 0, 1e-4)
