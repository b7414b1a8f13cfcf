"""What is written to a text does not depend on the texts beside it: what is promised, and of dynamic int8 the bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import zoo
from benchmarks.real_generation import gate
from ortolan import Model
from ortolan.config import BatchConfig, Precision
from ortolan.generation.config import GenerationConfig
from ortolan.generation.loop import Outcome, Writer, generate
from ortolan.tokenize import Encoding
from ortolan_exporters import choose, export
from tests.parity.prompts import encoded, writing_config

pytestmark = pytest.mark.parity

TASKS = {
    "gpt2": "text-generation",
    "llama": "text-generation",
    "t5": "text2text-generation",
    "bart": "text2text-generation",
}
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8", "int8-static", "int4")
PROMISED = tuple(one for one in PRECISIONS if one != "int8")
LENGTHS = (1, 2, 3, 7, 19, 40, 33, 8)
NEW = (24, 3, 9, 24, 1, 16, 24, 12)
WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "drawn": {"do_sample": True, "seed": 11},
    "4 beams": {"num_beams": 4, "num_return_sequences": 2},
}


@pytest.fixture(
    scope="module",
    params=[pytest.param(one, marks=[pytest.mark.slow] if one in ("llama", "bart") else []) for one in TASKS],
)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every precision of a small model. What the gate would say of it is of no interest here."""
    made = tmp_path_factory.mktemp(request.param)
    checkpoint = zoo.save(made / "checkpoint", request.param, TASKS[request.param])
    with pytest.MonkeyPatch.context() as patch, gate(decides=False):
        patch.setattr(choose, "ROUNDS", 1)
        return export(checkpoint, made / "artifact", task=TASKS[request.param], precisions=PRECISIONS).folder


def prompts(model: Model) -> list[Encoding]:
    draw = np.random.default_rng(5)
    return [encoded(draw.integers(10, model.artifact.config["vocab_size"], length).tolist()) for length in LENGTHS]


def settings(model: Model, options: dict[str, Any]) -> GenerationConfig:
    return writing_config(model, {"max_new_tokens": max(NEW), "eos_token_id": (), **options})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("precision", PROMISED)
def test_texts_alone_are_those_in_company(folder: Path, precision: str, way: str) -> None:
    model = Model.load(folder, "cpu", precision)
    writer, config, rows = Writer(model, model.tokenizer), settings(model, WAYS[way]), prompts(model)

    def written(some: list[Encoding], size: int) -> list[list[list[int]]]:
        found = dict(generate(writer, some, config, BatchConfig(max_batch_size=size), reuses_prefixes=False))
        return [[row.outputs["sequences"].tolist() for row in found[place]] for place in range(len(some))]

    alone = [written([row], 1)[0] for row in rows]
    assert written(rows, len(rows)) == alone
    assert written(rows, 3) == alone


@pytest.mark.parametrize("precision", PROMISED)
def test_texts_that_join_and_leave_change_none(folder: Path, precision: str) -> None:
    model = Model.load(folder, "cpu", precision)
    writer, rows = Writer(model, model.tokenizer), prompts(model)
    configs = [settings(model, {"max_new_tokens": new, "seed": new, "do_sample": new % 2 == 1}) for new in NEW]

    def run(some: list[int]) -> list[Any]:
        # one joins every other step, whatever the others are at; those before it leave meanwhile
        scheduler = writer.scheduler(max_requests=len(some), chunk_tokens=8, reuses_prefixes=False)
        outcomes, left = [Outcome() for _ in some], list(range(len(some)))
        while not all(one.is_over for one in outcomes):
            for place in (left.pop(0),) if left else ():
                scheduler.add(writer.request(rows[some[place]], configs[some[place]], outcomes[place]))
            scheduler.step()
            scheduler.step()
        return [list(one.texts[0].ids) if one.texts else one.error for one in outcomes]

    everybody = list(range(len(rows)))
    assert run(everybody) == [run([one])[0] for one in everybody]


@pytest.mark.parametrize("precision", PROMISED)
def test_a_prompt_read_in_parts_or_but_for_its_end_is_told_as_one_read_at_once(folder: Path, precision: str) -> None:
    model = Model.load(folder, "cpu", precision)
    if "encoder" in model.graphs:
        pytest.skip("an encoder reads its text at once, and keeps none")
    # parts of 2, of 8 and of 20 tokens would leave a lone one
    prompt = encoded(np.random.default_rng(5).integers(10, model.artifact.config["vocab_size"], 41).tolist())
    config = settings(model, {"logprobs": 0})

    def told(writer: Writer, chunk_tokens: int) -> Any:
        outcome, scheduler = Outcome(), writer.scheduler(chunk_tokens=chunk_tokens)
        scheduler.add(writer.request(prompt, config, outcome))
        while scheduler.step():
            pass
        assert outcome.texts is not None
        return outcome.texts[0].logprobs

    writer = Writer(model, model.tokenizer)
    at_once = told(writer, 512)
    assert [told(Writer(model, model.tokenizer), size) for size in (1, 2, 8, 20)] == [at_once] * 4
    assert told(writer, 512) == at_once
    assert writer.prefixes.hits == 1


def test_dynamic_int8_moves_with_company_by_less_than_twice_what_quantization_costs(folder: Path) -> None:
    exact, reduced = (Model.load(folder, "cpu", one) for one in ("fp32", "int8"))
    draw = np.random.default_rng(3)
    ids = draw.integers(10, exact.artifact.config["vocab_size"], (16, 24))
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    if "encoder" in exact.graphs:
        feed["decoder_input_ids"] = ids[:, ::-1].copy()
    beside = reduced(**feed).logits
    alone = np.concatenate([reduced(**{name: one[[row]] for name, one in feed.items()}).logits for row in range(16)])
    moved, quantized = np.abs(beside - alone).mean(), np.abs(alone - exact(**feed).logits).mean()
    assert 0 < moved < 2 * quantized
