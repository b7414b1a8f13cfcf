"""Attention as one operator: what it is given, what it computes, and that nothing of it stays behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AttentionInterface
from transformers.masking_utils import (
    AttentionMaskInterface,
    bidirectional_mask_function,
    causal_mask_function,
    sliding_window_bidirectional_mask_function,
)

from benchmarks import zoo
from ortolan_exporters.fused import MASKED, NAME, attention_mask, fused_attention, multi_head_attention
from ortolan_exporters.trace import _quiet
from tests import tiny
from tests.exporters.parity import load

PADDED = torch.tensor([[1, 1, 1], [1, 1, 0]])


def seen(mask: torch.Tensor | None) -> list[list[list[int]]]:
    """For each text and each token that looks, which tokens it sees."""
    assert mask is not None
    assert set(mask.unique().tolist()) <= {0.0, MASKED}
    return [[torch.nonzero(row == 0).flatten().tolist() for row in text[0]] for text in mask]


def test_padding_alone_is_a_mask_of_integers() -> None:
    mask = attention_mask(2, 3, 3, bidirectional_mask_function, PADDED)
    assert mask is not None
    assert (mask.dtype, mask.tolist()) == (torch.int32, PADDED.tolist())


def test_nothing_to_hide_is_no_mask() -> None:
    assert attention_mask(2, 3, 3, bidirectional_mask_function, None) is None


def test_tokens_that_see_those_before_them_get_a_bias() -> None:
    mask = attention_mask(2, 3, 3, causal_mask_function, PADDED)
    assert seen(mask) == [[[0], [0, 1], [0, 1, 2]], [[0], [0, 1], [0, 1]]]


def test_tokens_that_see_their_neighbours_get_a_bias_without_padding_too() -> None:
    mask = attention_mask(2, 4, 4, sliding_window_bidirectional_mask_function(1), None)
    assert seen(mask) == [[[0, 1], [0, 1, 2], [1, 2, 3], [2, 3]]], "the same for all texts"


def test_mask_value_leaves_nothing_to_what_is_hidden() -> None:
    assert np.exp(np.float32(MASKED)) == 0
    assert np.isfinite(np.float16(MASKED))


class Attention(torch.nn.Module):
    """Every way in which the operator is called, side by side."""

    def forward(self, states: torch.Tensor, mask: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, ...]:
        parts = states.chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in parts)
        padding = attention_mask(2, 5, 5, bidirectional_mask_function, mask)
        causal = attention_mask(2, states.shape[1], states.shape[1], causal_mask_function, mask)
        ways = (
            multi_head_attention(self, query, key, value, None),
            multi_head_attention(self, query, key, value, padding),
            multi_head_attention(self, query, key, value, padding, scaling=0.25),
            multi_head_attention(self, query, key, value, causal),
            multi_head_attention(self, query, key, value, padding, position_bias=bias),
            multi_head_attention(self, query, key, value, causal, position_bias=bias),
            multi_head_attention(self, query, key[:, :1], value[:, :1], padding),
        )
        return tuple(found for found, _ in ways)


@pytest.mark.parity
def test_operator_computes_scaled_dot_product_attention(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    states, bias = torch.randn(2, 5, 24, generator=draw), torch.randn(1, 2, 5, 5, generator=draw)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    path = tmp_path / "attention.onnx"
    with torch.no_grad(), _quiet():
        names = ["plain", "padded", "scaled", "causal", "biased", "both", "shared"]
        feed = {"states": states, "mask": mask, "bias": bias}
        torch.onnx.export(
            Attention(), tuple(feed.values()), path, dynamo=True, input_names=list(feed), output_names=names,
            opset_version=20, verbose=False,
        )  # fmt: skip
    got = load(path).run({name: tensor.numpy() for name, tensor in feed.items()})
    query, key, value = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in states.chunk(3, dim=-1))
    padding = (1.0 - mask[:, None, None, :].float()) * -1e9
    causal = torch.minimum(padding, torch.full((5, 5), -1e9).triu(1))
    for name, scores, scale in (
        ("plain", None, None),
        ("padded", padding, None),
        ("scaled", padding, 0.25),
        ("causal", causal, None),
        ("biased", padding + bias, None),
        ("both", causal + bias, None),
    ):
        attended = torch.nn.functional.scaled_dot_product_attention(query, key, value, scores, scale=scale)
        np.testing.assert_allclose(got[name], attended.transpose(1, 2), atol=1e-5, err_msg=name)
    one = [part[:, :1].expand(-1, 2, -1, -1) for part in (key, value)]
    attended = torch.nn.functional.scaled_dot_product_attention(query, *one, padding)
    np.testing.assert_allclose(got["shared"], attended.transpose(1, 2), atol=1e-5, err_msg="heads share one key")


@pytest.mark.parametrize("fails", [False, True], ids=["traced", "failed"])
def test_own_attention_is_back_afterwards(fails: bool) -> None:
    module = tiny.bert()
    before = module.config._attn_implementation
    feed = {"input_ids": torch.tensor([[2, 7, 9, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.int64)}
    with torch.inference_mode():
        expected = module(**feed).logits
        try:
            with fused_attention(module):
                assert module.config._attn_implementation == NAME
                assert not torch.equal(module(**feed).logits, expected), "the operator has no kernel in torch"
                if fails:
                    raise ValueError
        except ValueError:
            assert fails
        assert module.config._attn_implementation == before
        assert NAME not in AttentionInterface._global_mapping
        assert NAME not in AttentionMaskInterface._global_mapping
        assert torch.equal(module(**feed).logits, expected)


def test_choice_holds_for_a_module_that_does_not_call_the_interface_itself() -> None:
    module = zoo.model_for("mpnet", "feature-extraction")
    with fused_attention(module):
        assert module.config._attn_implementation == NAME
    assert module.config._attn_implementation != NAME
