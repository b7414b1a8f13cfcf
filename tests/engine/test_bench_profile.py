from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ortolan.bench.operators import GroupTime
from ortolan.bench.profile import STAGES, Profile, measure_work, profile, sentences
from ortolan.bench.records import Work
from ortolan.config import BatchConfig
from ortolan.errors import ConfigError, InvalidInputError

NOTHING = Work(flops=0.0, bytes=0.0)
LIMIT = {"fp32 product": 100.0, "int8 product": 400.0, "memory": 10.0}

FOUND = Profile(
    artifact="sentiment",
    provider="cpu",
    precision="int8",
    precisions=("fp32", "int8"),
    inputs=10,
    rows=10,
    batches=2,
    tokens=1000,
    padding=0,
    stages={"tokenize": 1.0, "batch": 1.0, "graph": 37.0, "postprocess": 1.0},
    groups=(
        GroupTime("products in int8", 20.0, Work(flops=4e9, bytes=1e6), ("MatMulIntegerToFloat",)),
        GroupTime("attention", 10.0, NOTHING, ("MultiHeadAttention",)),
        GroupTime("normalization", 7.0, NOTHING, ("LayerNormalization",)),
    ),
)


@pytest.mark.parity
def test_a_profile_counts_and_times_what_a_pipeline_does(artifact: Path):
    texts = ["rain", "sun and rain and sun", "a day"]
    found = profile(artifact, texts, provider="cpu", precision="fp32", num_threads=1, passes=2)
    assert (found.inputs, found.rows, found.batches, found.provider, found.precision) == (3, 3, 1, "cpu", "fp32")
    assert found.tokens > 6
    assert found.padding > 0
    assert set(found.stages) == set(STAGES)
    assert all(taken > 0 for taken in found.stages.values())
    assert sum(one.milliseconds for one in found.groups) == pytest.approx(found.stages["graph"])
    assert found.groups[0].milliseconds >= found.groups[-1].milliseconds
    assert found.work.flops > 0


@pytest.mark.parity
def test_work_grows_with_the_tokens_and_weights_do_not(artifact: Path):
    one, two = (
        profile(artifact, ["rain"] * n, provider="cpu", precision="fp32", num_threads=1, passes=1).work for n in (4, 8)
    )
    assert two.flops == pytest.approx(2 * one.flops)
    assert two.bytes == one.bytes


@pytest.mark.parity
def test_work_is_measured_for_each_feed(artifact: Path):
    ids = np.ones((1, 8), np.int64)
    feeds = [{"input_ids": np.tile(ids, (n, 1)), "attention_mask": np.tile(ids, (n, 1))} for n in (1, 4)]
    one, four = measure_work(artifact, feeds, "fp32")
    [int8] = measure_work(artifact, feeds[:1], "int8")
    assert four.flops == pytest.approx(4 * one.flops)
    assert four.bytes == one.bytes > int8.bytes > 0
    assert int8.flops == one.flops


@pytest.mark.parity
def test_texts_of_equal_length_need_no_padding_and_a_limit_splits_them(artifact: Path):
    found = profile(
        artifact, ["rain"] * 4, provider="cpu", num_threads=1, passes=1, batching=BatchConfig(max_batch_size=1)
    )
    assert (found.batches, found.padding, found.padding_share) == (4, 0, 0.0)


@pytest.mark.parametrize(
    ("inputs", "passes"),
    [
        pytest.param([], 1, id="no inputs"),
        pytest.param(["a"] * 5000, 1, id="too many"),
        pytest.param(["a"], 0, id="no passes"),
    ],
)
def test_a_profile_of_nothing_or_too_much_is_refused(artifact: Path, inputs: list[str], passes: int):
    with pytest.raises(ConfigError, match="1 to 4096 inputs"):
        profile(artifact, inputs, passes=passes)


def test_a_task_that_writes_is_refused(artifact: Path, monkeypatch: pytest.MonkeyPatch):
    writing = SimpleNamespace(writer=object(), task="text-generation")
    monkeypatch.setattr("ortolan.bench.profile.pipeline", lambda task, model: writing)
    with pytest.raises(ConfigError, match="token by token"):
        profile(artifact, ["a"])


def test_an_input_that_cannot_be_read_is_refused(artifact: Path):
    with pytest.raises(InvalidInputError, match="index 1"):
        profile(artifact, ["a", 7], provider="cpu")


def test_the_sentences_say_where_the_time_goes():
    told = sentences(FOUND, LIMIT)
    assert told[0] == (
        "sentiment in int8 on cpu answered 10 inputs with 1,000 tokens in 40 ms, in 2 runs of the graph: 4 ms an input."
    )
    assert told[1:4] == [
        "Where that went: tokenize 1 ms (2%), batch 1 ms (2%), graph 37 ms (92%), postprocess 1 ms (2%).",
        "Padding was 0% of the tokens that ran.",
        "Within the graph: products in int8 54%, attention 27%, normalization 19%.",
    ]


def test_the_sentences_say_what_the_limit_allows():
    told = sentences(FOUND, LIMIT)
    assert told[4] == (
        "The products in int8 run at 50% of what this machine reaches for them: at the limit they would take 10 ms "
        "instead of 20. Short texts, small batches or other programs keep them from it."
    )
    assert told[5] == (
        "Were there nothing but these products, at the limit of this machine, all would take 10 ms: no runtime "
        "answers this with this graph more than 4.0 times as quickly here."
    )


def test_near_the_limit_there_is_little_to_gain():
    told = sentences(FOUND, {**LIMIT, "int8 product": 250.0})
    assert any(line.endswith("there is little left to gain in them.") for line in told)


def test_without_limits_nothing_is_said_of_them():
    assert not any("limit" in line for line in sentences(FOUND, {}))


def group(name: str, ms: float = 30.0) -> tuple[GroupTime, ...]:
    return (GroupTime(name, ms, NOTHING, ("X",)),)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        pytest.param({"padding": 500}, "pass texts of more equal length together", id="padding"),
        pytest.param({"stages": {**FOUND.stages, "tokenize": 30.0}}, "pass texts in longer lists", id="tokenizing"),
        pytest.param({"stages": {**FOUND.stages, "postprocess": 30.0}}, "ask for less", id="postprocessing"),
        pytest.param({"precision": "fp32", "groups": group("products in fp32")}, "try precision='int8'", id="fp32"),
        pytest.param(
            {"precision": "fp32", "precisions": ("fp32",), "groups": group("products in fp32")},
            "export with --precision int8",
            id="fp32 alone",
        ),
        pytest.param({"groups": group("attention")}, "shorten texts", id="attention"),
        pytest.param({"groups": group("quantizing")}, "try precision 'int8-static'", id="quantizing"),
        pytest.param({"batches": 10, "tokens": 100}, "let short texts share runs", id="alone"),
    ],
)
def test_each_waste_has_its_advice(changes: dict[str, object], advice: str):
    assert not any(line.startswith("Do:") for line in sentences(FOUND, LIMIT))
    [told] = [line for line in sentences(replace(FOUND, **changes), LIMIT) if line.startswith("Do:")]
    assert advice in told


def test_operators_on_a_device_are_not_told():
    told = sentences(replace(FOUND, provider="cuda", groups=()), LIMIT)
    assert any("hands them to a device" in line for line in told)
