"""question-answering against what transformers 4.57.6 answered; see goldens/make_question_answering.py."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ortolan
from ortolan import Model, OrtolanError
from ortolan.pipeline import Pipeline
from tests import checkpoints
from tests.goldens import make_question_answering as goldens
from tests.goldens.seeded import fingerprint
from tests.parity.compare import assert_same

TASK = "question-answering"
KNOWN = json.loads(goldens.FILE.read_text(encoding="utf-8"))
CALIBRATION = "".join(
    json.dumps({"text": question, "text_pair": context}, ensure_ascii=False) + "\n"
    for question, context in [("Where do I live?", goldens.BERLIN), ("Кто?", goldens.RUSSIAN), ("?", goldens.EMOJI)]
)

pytestmark = pytest.mark.parity

models = pytest.mark.parametrize("name", list(goldens.MODELS))


@pytest.fixture(scope="session")
def answerer(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pipeline]:
    """Export one of the models that the goldens are of, once."""

    @functools.cache
    def once(name: str) -> Pipeline:
        folder = tmp_path_factory.mktemp(f"answers-{name}")
        module, tokenizer = goldens.model_and_tokenizer(name)
        assert fingerprint(module) == KNOWN["models"][name]["weights"], "the goldens are of other weights"
        module.save_pretrained(folder / "checkpoint")
        tokenizer.save_pretrained(folder / "checkpoint")
        (folder / "checkpoint" / "calibration.jsonl").write_text(CALIBRATION, encoding="utf-8")
        artifact = checkpoints.artifact(folder / "checkpoint", folder / "artifact", TASK)
        return ortolan.pipeline(TASK, Model.load(artifact.folder, "cpu"))

    return once


def known(name: str, title: str) -> Any:
    """What transformers answered, without spans of probability zero: they are no answers."""
    return possible(KNOWN["models"][name]["answers"][title], goldens.CASES[title])


def possible(answer: Any, case: goldens.Case) -> Any:
    if isinstance(case.question, list) and len(case.question) > 1:
        one = goldens.Case("", "", case.options)
        return [possible(each, one) for each in answer]
    if isinstance(answer, dict):
        return answer
    found = [one for one in answer if one["score"] > 0]
    return found[0] if len(found) == 1 else found


@models
def test_answers_equal_those_of_transformers(answerer: Callable[[str], Pipeline], name: str):
    pipe = answerer(name)
    for title, case in goldens.CASES.items():
        found = pipe(question=case.question, context=case.context, **case.options)
        assert_same(found, known(name, title), TASK, f"{name}, {title}")


@models
def test_answers_in_a_list_equal_those_of_transformers(answerer: Callable[[str], Pipeline], name: str):
    pipe = answerer(name)
    lone = {title: case for title, case in goldens.CASES.items() if isinstance(case.question, str)}
    for options in {json.dumps(case.options): case.options for case in lone.values()}.values():
        titles = [title for title, case in lone.items() if case.options == options]
        inputs = [{"question": lone[title].question, "context": lone[title].context} for title in titles]
        found = pipe(inputs, **options)
        for title, answer in zip(titles, found if len(titles) > 1 else [found], strict=True):
            assert_same(answer, known(name, title), TASK, f"{name}, {title}, in a list")


ANY = st.text(st.characters(exclude_categories=()), max_size=80)


@given(
    question=ANY,
    context=ANY | ANY.map(lambda text: text * 40),
    top_k=st.integers(1, 5),
    max_seq_len=st.integers(16, 80),
    doc_stride=st.integers(0, 40),
    impossible=st.booleans(),
    aligned=st.booleans(),
)
@settings(max_examples=60)
@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_any_question_is_answered_with_slices_of_its_context_or_refused(
    answerer: Callable[[str], Pipeline],
    name: str,
    question: str,
    context: str,
    top_k: int,
    max_seq_len: int,
    doc_stride: int,
    impossible: bool,
    aligned: bool,
):
    try:
        found = answerer(name)(
            question=question,
            context=context,
            top_k=top_k,
            max_seq_len=max_seq_len,
            doc_stride=doc_stride,
            handle_impossible_answer=impossible,
            align_to_words=aligned,
        )
    except OrtolanError:
        return
    answers = [found] if isinstance(found, dict) else found
    assert len(answers) <= top_k
    for one in answers:
        assert context[one["start"] : one["end"]] == one["answer"]
        assert 0 <= one["start"] <= one["end"] <= len(context)
        assert one["score"] >= 0


@models
def test_every_case_is_in_the_goldens(name: str):
    assert list(KNOWN["models"][name]["answers"]) == list(goldens.CASES)
