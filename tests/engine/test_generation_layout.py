"""What a decoder keeps of a token, as its inputs tell."""

from __future__ import annotations

import pytest

from ortolan.errors import SignatureError
from ortolan.generation.layout import Layout, Part, read_layout
from ortolan.session.base import Signature, TensorSpec

GPT2 = Layout(tuple(Part(f"{layer}.{part}", 12, 64, "float32") for layer in range(12) for part in ("key", "value")))


def spec(name: str, *axes: int | str, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, axes)


def test_layout_is_read_from_the_inputs() -> None:
    inputs = (
        spec("input_ids", "batch", "sequence", dtype="int64"),
        spec("past_key_values.0.key", "batch", 2, "max_length", 8, dtype="float16"),
        spec("past_key_values.0.value", "batch", 2, "max_length", 8, dtype="float16"),
        spec("cross.0.key", "requests", 4, "encoded", 8),
    )
    found = read_layout(Signature(inputs, ()))
    assert found.parts == (Part("0.key", 2, 8, "float16"), Part("0.value", 2, 8, "float16"))
    assert found.cross == (Part("0.key", 4, 8, "float32"),)
    assert (found.token_bytes, found.encoded_bytes) == (64, 128)


def test_token_of_gpt2_takes_72_kib() -> None:
    assert GPT2.token_bytes == 2 * 12 * 12 * 64 * 4 == 72 * 1024
    assert GPT2.num_bytes(8, 96) == 8 * 96 * 72 * 1024


def test_text_of_an_encoder_counts_once_for_all_its_beams() -> None:
    layout = Layout((Part("0.key", 1, 1, "float32"),), (Part("0.key", 1, 2, "float32"),))
    assert layout.num_bytes(8, 10, requests=2, encoded=5) == 8 * 10 * 4 + 2 * 5 * 8


def test_graph_without_a_cache_is_refused() -> None:
    with pytest.raises(SignatureError, match="a graph that writes requested, this one has no past_key_values"):
        read_layout(Signature((spec("input_ids", "batch", "sequence"),), ()))


@pytest.mark.parametrize("axes", [("batch", "heads", "length", 8), ("batch", 2, 8), (1, 2, "length", 8)], ids=str)
def test_cache_of_unknown_size_is_refused(axes: tuple[int | str, ...]) -> None:
    with pytest.raises(SignatureError, match=r"input 'past_key_values.0.key' requested, its axes are \["):
        read_layout(Signature((spec("past_key_values.0.key", *axes),), ()))
