"""text2text-generation, summarization and translation against what transformers 4.57.6 wrote; see
goldens/make_text2text.py."""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import transformers
from hypothesis import HealthCheck, given, settings

import ortolan
from ortolan import Model, OrtolanError
from ortolan.errors import ConfigError
from ortolan.pipeline import Pipeline
from tests import checkpoints
from tests.goldens import make_text2text as goldens
from tests.goldens.seeded import fingerprint
from tests.parity.compare import assert_same
from tests.parity.test_any_text import texts as any_text

KNOWN = json.loads(goldens.FILE.read_text(encoding="utf-8"))

pytestmark = pytest.mark.parity

Made = Callable[[str], Model]

SLOW = ("bart", "marian")
"""Models whose export is left out of the quick tests: each takes seconds."""


def marked(name: str, *more: str) -> Any:
    return pytest.param(name, *more, marks=[pytest.mark.slow] if name in SLOW else [])


models = pytest.mark.parametrize("name", [marked(name) for name in goldens.MODELS])
CONTRADICTORY = ("bart", "not these")
"""The model's files force a token that the call suppresses. transformers writes token 0 where rules leave none."""

calls = pytest.mark.parametrize(
    ("name", "title"),
    [marked(name, title) for name, found in goldens.CALLS.items() for title in found if (name, title) != CONTRADICTORY],
)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Export one of the models that the goldens are of, once."""

    @functools.cache
    def once(name: str) -> Model:
        folder = tmp_path_factory.mktemp(f"writes-{name}")
        module, tokenizer = goldens.model_and_tokenizer(name)
        assert fingerprint(module) == KNOWN["models"][name]["weights"], "the goldens are of other weights"
        module.save_pretrained(folder / "checkpoint")
        tokenizer.save_pretrained(folder / "checkpoint")
        texts = "".join(json.dumps({"text": text}) + "\n" for text in checkpoints.CALIBRATION)
        (folder / "checkpoint" / "calibration.jsonl").write_text(texts, encoding="utf-8")
        artifact = checkpoints.artifact(folder / "checkpoint", folder / "artifact")
        assert artifact.manifest.task == "text2text-generation"
        return Model.load(artifact.folder, "cpu")

    return once


def pipe(model: Model, task: str) -> Pipeline:
    """Without beams; and a task that stands for several is asked for on purpose."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the model translates in several ways", UserWarning)
        return ortolan.pipeline(task, model, num_beams=1)


def options_of(call: goldens.Call) -> dict[str, Any]:
    return {**goldens.GREEDY, **call.options}


@calls
def test_what_is_written_equals_what_transformers_writes(made: Made, name: str, title: str):
    call = goldens.CALLS[name][title]
    ours = pipe(made(name), call.task)
    for what, text in call.texts.items():
        found = ours(text, **options_of(call))
        assert_same(found, KNOWN["models"][name]["answers"][title][what], call.task, f"{name}, {title}, {what}")


@calls
def test_what_is_written_in_a_list_equals_what_transformers_writes(made: Made, name: str, title: str):
    call = goldens.CALLS[name][title]
    found = pipe(made(name), call.task)(list(call.texts.values()), batch_size=8, **options_of(call))
    for answer, what in zip(found, call.texts, strict=True):
        known = KNOWN["models"][name]["answers"][title][what]
        assert_same([answer], known, call.task, f"{name}, {title}, {what}, in a list")


@pytest.mark.slow
def test_call_whose_rules_leave_no_token_is_refused(made: Made):
    call = goldens.CALLS[CONTRADICTORY[0]][CONTRADICTORY[1]]
    with pytest.raises(ConfigError, match="forced_bos_token_id with suppress_tokens, which hold it"):
        pipe(made("bart"), call.task)("Hello there", **options_of(call))


@pytest.mark.parametrize("name", list(goldens.MODELS))
def test_every_call_is_in_the_goldens(name: str):
    known = KNOWN["models"][name]["answers"]
    assert {title: list(found) for title, found in known.items()} == {
        title: list(call.texts) for title, call in goldens.CALLS[name].items()
    }
    assert KNOWN["models"][name]["margin"] > goldens.LEAST_MARGIN


def test_length_that_a_caller_asks_for_is_kept(made: Made):
    # transformers 4.57.6 writes 256 tokens here: the default of its pipelines goes before what a caller says
    found = pipe(made("t5"), "summarization")("Hello there", max_length=9, return_tensors=True)
    assert len(found[0]["summary_token_ids"]) == 9


def test_length_of_the_task_is_kept(made: Made):
    found = pipe(made("t5"), "summarization")("Hello there", return_tensors=True)
    assert len(found[0]["summary_token_ids"]) == 14


def test_languages_choose_the_prefix_of_t5(made: Made):
    model = made("t5")
    named = pipe(model, "translation_en_to_fr")("one two")
    assert ortolan.pipeline("translation", model, src_lang="en", tgt_lang="fr")("one two") == named


def test_translation_by_a_model_of_several_says_which(made: Made):
    with pytest.warns(UserWarning, match="several ways; this is translation_en_to_de") as caught:
        ortolan.pipeline("translation", made("t5"), num_beams=1)
    assert caught[0].filename == __file__


def test_model_of_many_languages_wants_to_know_which(made: Made):
    with pytest.raises(ConfigError, match="knows many languages, .*; pass src_lang= and tgt_lang="):
        pipe(made("mbart"), "translation")("Hello")
    with pytest.raises(ConfigError, match="tgt_lang='french' requested, the model has no token for it"):
        pipe(made("mbart"), "translation")("Hello", src_lang="en_XX", tgt_lang="french")
    with pytest.raises(ConfigError, match="src_lang='▁the' requested, the model has no token for it"):
        pipe(made("mbart"), "translation")("Hello", src_lang="▁the", tgt_lang="fr_XX")


def test_languages_may_be_said_when_the_pipeline_is_made(made: Made):
    ours = ortolan.pipeline("translation", made("mbart"), **goldens.TO_JAPANESE)
    known = KNOWN["models"]["mbart"]["answers"]["Japanese"]["german"]
    assert ours(goldens.TEXTS["german"]) == known


@models
def test_graph_gives_the_logits_of_torch_for_any_length_of_the_output(made: Made, name: str):
    import numpy as np
    import torch

    module, _ = goldens.model_and_tokenizer(name)
    model = made(name)
    feed = model.tokenizer(list(goldens.FEW.values()))
    del feed["token_type_ids"]
    written = np.random.default_rng(0).integers(4, 900, (len(goldens.FEW), 5))
    tensors = {key: torch.from_numpy(value) for key, value in {**feed, "decoder_input_ids": written}.items()}
    with torch.inference_mode():
        wanted = module(**tensors).logits.numpy()
    got = model(**feed, decoder_input_ids=written).logits
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= 1e-4 * np.abs(wanted).max()
    assert model(**feed).logits.shape[:2] == feed["input_ids"].shape, "it defaults to the text itself"


def test_transformers_that_is_installed_has_none_of_these_tasks():
    # when it has them again, they can be compared live
    with pytest.raises(KeyError, match="summarization"):
        transformers.pipelines.check_task("summarization")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(text=any_text)
@pytest.mark.parametrize(("name", "task"), [("t5", "summarization"), ("mbart", "translation")])
def test_any_text_is_answered_or_refused(made: Made, name: str, task: str, text: str):
    languages = goldens.TO_FRENCH if name == "mbart" else {}
    try:
        found = pipe(made(name), task)([text], max_new_tokens=2, min_length=0, truncation=True, **languages)
    except OrtolanError:
        return
    [[(key, value)]] = [list(one.items()) for one in found]
    assert key == {"summarization": "summary_text", "translation": "translation_text"}[task]
    assert isinstance(value, str)
