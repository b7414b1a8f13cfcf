"""Module lists of sentence-transformers: what each pooling computes, and lists that can't be used."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from ortolan_exporters import CheckpointError
from ortolan_exporters.sentences import (
    POOLINGS,
    Normalize,
    Pooling,
    SentenceEmbedder,
    has_modules,
    max_sequence_length,
    with_modules,
)
from tests import tiny

HIDDEN = 4


def by_hand(mode: str, tokens: np.ndarray) -> np.ndarray:
    """Pool the real tokens of one text, [n, H]."""
    places = np.arange(1, len(tokens) + 1)[:, None]
    return {
        "cls_token": lambda: tokens[0],
        "max_tokens": lambda: tokens.max(0),
        "mean_tokens": lambda: tokens.sum(0) / len(tokens),
        "mean_sqrt_len_tokens": lambda: tokens.sum(0) / len(tokens) ** 0.5,
        "weightedmean_tokens": lambda: (tokens * places).sum(0) / places.sum(),
        "lasttoken": lambda: tokens[-1],
    }[mode]()


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    modes=st.lists(st.sampled_from(list(POOLINGS)), min_size=1, max_size=3, unique=True),
    seed=st.integers(0, 1000),
)
def test_pooling_is_that_of_the_real_tokens(lengths: list[int], modes: list[str], seed: int) -> None:
    hidden = np.random.default_rng(seed).normal(size=(len(lengths), max(lengths), HIDDEN)).astype(np.float32)
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    got = Pooling(tuple(modes))(torch.from_numpy(hidden), torch.from_numpy(mask))
    expected = [
        np.concatenate([by_hand(mode, row[:length]) for mode in modes])
        for row, length in zip(hidden, lengths, strict=True)
    ]
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


def test_every_pooling_has_been_worked_out_here() -> None:
    assert len({by_hand(mode, np.array([[1.0], [4.0], [2.0]])).item() for mode in POOLINGS}) == len(POOLINGS)


@given(rows=st.integers(1, 4), seed=st.integers(0, 1000))
def test_normalized_vectors_have_length_one(rows: int, seed: int) -> None:
    vectors = torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, HIDDEN)))
    np.testing.assert_allclose(Normalize()(vectors).norm(dim=-1), 1, atol=1e-6)


def test_vector_of_zeros_stays_when_it_is_normalized() -> None:
    assert Normalize()(torch.zeros(1, HIDDEN)).tolist() == [[0.0] * HIDDEN]


class Body(torch.nn.Module):
    """A transformer whose hidden states are its ids."""

    config = SimpleNamespace(is_encoder_decoder=False)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        states = input_ids[..., None].expand(-1, -1, HIDDEN).float()
        return transformers.modeling_outputs.BaseModelOutput(last_hidden_state=states)


INPUTS = {"input_ids": torch.tensor([[1, 3, 100]]), "attention_mask": torch.tensor([[1, 1, 0]])}


def write(folder: Path, *modules: tuple[str, dict[str, Any] | None]) -> Path:
    """Write a module list: type and settings of each module, in a folder of its own."""
    rows = []
    for number, (kind, settings) in enumerate(modules):
        path = "" if number == 0 else f"{number}_{kind}"
        rows.append({"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"})
        if settings is not None:
            (folder / path).mkdir(exist_ok=True)
            (folder / path / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "modules.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder


def embed(folder: Path) -> list[float]:
    module = with_modules(Body(), folder, "mine")
    found: list[float] = module(INPUTS)["sentence_embedding"][0].tolist()
    return found


TRANSFORMER: tuple[str, None] = ("Transformer", None)
MEAN = ("Pooling", {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False})


def test_pooling_is_read_from_the_list(tmp_path: Path) -> None:
    assert embed(write(tmp_path, TRANSFORMER, MEAN)) == [2.0] * HIDDEN


def test_hidden_states_stay_among_the_outputs(tmp_path: Path) -> None:
    found = with_modules(Body(), write(tmp_path, TRANSFORMER, MEAN), "mine")(INPUTS)
    assert found["last_hidden_state"].shape == (1, 3, HIDDEN)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"pooling_mode_cls_token": True}, [1.0] * HIDDEN),
        ({"pooling_mode": "cls"}, [1.0] * HIDDEN),
        ({"pooling_mode": "mean"}, [2.0] * HIDDEN),
        ({"pooling_mode": "max"}, [3.0] * HIDDEN),
        ({"pooling_mode": "lasttoken"}, [3.0] * HIDDEN),
        ({"pooling_mode": "weightedmean"}, [7 / 3] * HIDDEN),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, [1.0] * HIDDEN + [2.0] * HIDDEN),
    ],
    ids=["flag", "cls", "mean", "max", "last token", "weighted mean", "two side by side"],
)
def test_pooling_has_names_of_two_kinds(settings: dict[str, Any], expected: list[float], tmp_path: Path) -> None:
    assert embed(write(tmp_path, TRANSFORMER, ("Pooling", settings))) == pytest.approx(expected)


def dense(folder: Path, weight: torch.Tensor, bias: torch.Tensor | None = None, **settings: Any) -> Path:
    """Write a list with a Dense module third, and its weights."""
    known = {"in_features": weight.shape[1], "out_features": weight.shape[0], "bias": bias is not None}
    write(folder, TRANSFORMER, MEAN, ("Dense", {**known, **settings}))
    weights = {"linear.weight": weight} if bias is None else {"linear.weight": weight, "linear.bias": bias}
    save_file(weights, folder / "2_Dense" / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("torch.nn.modules.linear.Identity", [-2.0, 8.5]),
        ("torch.nn.modules.activation.Tanh", np.tanh([-2.0, 8.5])),
        (None, np.tanh([-2.0, 8.5])),
        ("torch.nn.modules.activation.ReLU", [0.0, 8.5]),
    ],
    ids=["none", "tanh", "tanh by default", "relu"],
)
def test_dense_projects_what_was_pooled(activation: str | None, expected: list[float], tmp_path: Path) -> None:
    weight, bias = torch.stack([torch.full((HIDDEN,), -0.25), torch.ones(HIDDEN)]), torch.tensor([0.0, 0.5])
    settings = {} if activation is None else {"activation_function": activation}
    assert embed(dense(tmp_path, weight, bias, **settings)) == pytest.approx(list(expected))


def test_dense_without_bias_in_half_precision_computes_in_float32(tmp_path: Path) -> None:
    folder = dense(tmp_path, torch.ones(1, HIDDEN).half(), activation_function="torch.nn.modules.linear.Identity")
    module = with_modules(Body(), folder, "mine")
    assert module(INPUTS)["sentence_embedding"].dtype == torch.float32
    assert embed(folder) == [8.0]


def test_modules_run_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    write(tmp_path, TRANSFORMER, MEAN, ("Normalize", None))
    rows = json.loads((tmp_path / "modules.json").read_text(encoding="utf-8"))
    (tmp_path / "modules.json").write_text(json.dumps(rows[::-1]), encoding="utf-8")
    assert embed(tmp_path) == [0.5] * HIDDEN


def test_embedder_of_a_model_with_a_decoder_asks_its_encoder(tmp_path: Path) -> None:
    both = torch.nn.Module()
    both.config = SimpleNamespace(is_encoder_decoder=True)
    both.get_encoder = Body
    module = SentenceEmbedder(both, Pooling(("mean_tokens",)), [])
    assert module(INPUTS)["sentence_embedding"].tolist() == [[2.0] * HIDDEN]


def refuse(folder: Path | None, found: str) -> None:
    with pytest.raises(CheckpointError, match=f"sentence embeddings of 'mine' requested, .*{found}"):
        with_modules(Body(), folder, "mine")


def test_checkpoint_without_a_list_is_refused(tmp_path: Path) -> None:
    assert not has_modules(tmp_path)
    assert not has_modules(None)
    for folder in (tmp_path, None):
        refuse(folder, "it carries no modules.json, which says how to pool; export it for feature-extraction")


@pytest.mark.parametrize(
    ("modules", "found"),
    [
        ([TRANSFORMER], "names no pooling after the transformer"),
        ([TRANSFORMER, ("Normalize", None)], "names no pooling after the transformer"),
        ([TRANSFORMER, ("LSTM", {}), MEAN], "a module of type sentence_transformers.models.LSTM is not known"),
        ([TRANSFORMER, ("Pooling", {"pooling_mode": "median"})], r"pooling \['median'\] is not known"),
        ([TRANSFORMER, ("Pooling", {"pooling_mode_cls_token": False})], "pooling .* is not known"),
        ([TRANSFORMER, ("Pooling", None)], "No such file"),
        ([TRANSFORMER, MEAN, ("Dense", {"out_features": 2})], "'in_features'"),
        ([TRANSFORMER, MEAN, ("Dense", {"in_features": 4, "out_features": 2})], "No such file"),
        ([TRANSFORMER, MEAN, ("Dense", None)], "No such file"),
    ],
    ids=[
        "no pooling",
        "pooling left out",
        "unknown module",
        "unknown pooling",
        "no mode",
        "pooling without settings",
        "dense without a size",
        "dense without weights",
        "dense without a folder",
    ],
)
def test_list_that_cannot_be_used_says_why(
    modules: list[tuple[str, dict[str, Any] | None]], found: str, tmp_path: Path
) -> None:
    refuse(write(tmp_path, *modules), found)


def test_activation_that_is_not_known_is_named(tmp_path: Path) -> None:
    folder = dense(tmp_path, torch.ones(1, HIDDEN), activation_function="torch.nn.modules.activation.Softsign")
    refuse(folder, "activation Softsign is not known")


@pytest.mark.parametrize("path", ["../elsewhere", "/etc", "1_Pooling/../../elsewhere"])
def test_list_that_leads_out_of_the_folder_is_refused(path: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "config.json").write_text('{"pooling_mode": "mean"}', encoding="utf-8")
    (tmp_path / "checkpoint").mkdir()
    folder = write(tmp_path / "checkpoint", TRANSFORMER, MEAN)
    rows = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    rows[1]["path"] = path
    (folder / "modules.json").write_text(json.dumps(rows), encoding="utf-8")
    refuse(folder, f"'{re.escape(path)}' leads out of the folder")


@pytest.mark.parametrize(
    "text",
    ["{", "7", '{"idx": 0}', '[{"idx": 0}]', '[{"type": "Pooling"}]', '["Pooling"]'],
    ids=["not JSON", "a number", "an object", "no type", "no number", "a list of texts"],
)
def test_damaged_list_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text(text, encoding="utf-8")
    refuse(tmp_path, "modules.json cannot be used .*; check the files it names")


def test_damaged_weights_of_a_dense_module_are_told(tmp_path: Path) -> None:
    folder = dense(tmp_path, torch.ones(2, HIDDEN))
    (folder / "2_Dense" / "model.safetensors").write_bytes(b"not safetensors at all")
    refuse(folder, "modules.json cannot be used")


def test_weights_that_do_not_fit_their_dense_module_are_told(tmp_path: Path) -> None:
    refuse(dense(tmp_path, torch.ones(2, HIDDEN), out_features=3), "modules.json cannot be used")


def test_settings_that_are_no_object_are_told(tmp_path: Path) -> None:
    folder = write(tmp_path, TRANSFORMER, MEAN)
    (folder / "1_Pooling" / "config.json").write_text("[]", encoding="utf-8")
    refuse(folder, "modules.json cannot be used")


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, None), ('{"max_seq_length": 128}', 128), ('{"max_seq_length": null}', None), ("{}", None)],
    ids=["no file", "a limit", "none set", "says nothing"],
)
def test_list_may_limit_the_length(text: str | None, expected: int | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "sentence_bert_config.json").write_text(text, encoding="utf-8")
    assert max_sequence_length(tmp_path) == expected


@pytest.mark.parametrize("text", ["{", "[]"], ids=["not JSON", "a list"])
def test_damaged_limit_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "sentence_bert_config.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match="sentence_bert_config.json"):
        max_sequence_length(tmp_path)


def test_no_folder_sets_no_limit() -> None:
    assert max_sequence_length(None) is None


@pytest.mark.parity
def test_embedder_gives_what_its_parts_give_by_hand(tmp_path: Path) -> None:
    body = tiny.bert().bert
    folder = write(tmp_path, TRANSFORMER, MEAN, ("Normalize", None))
    inputs = {
        "input_ids": torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]]),
        "attention_mask": torch.tensor([[1] * 4, [1, 1, 1, 0]]),
    }
    with torch.inference_mode():
        found = with_modules(body, folder, "mine").eval()(inputs)
        hidden = body(**inputs).last_hidden_state.numpy()
    means = np.stack([hidden[0].mean(0), hidden[1, :3].mean(0)])
    expected = means / np.linalg.norm(means, axis=-1, keepdims=True)
    np.testing.assert_allclose(found["sentence_embedding"], expected, atol=1e-6)
