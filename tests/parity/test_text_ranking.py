"""text-ranking against torch: a cross-encoder's logit for each pair, tokenized by transformers, and its activation."""

from __future__ import annotations

import functools
import itertools
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import ortolan
from ortolan import Model, OrtolanError, TruncatedWarning
from tests import checkpoints
from tests.parity import texts
from tests.parity.compare import assert_same

TASK = "text-ranking"
QUERIES = ("Who let Angela Merkel into the kitchen?", "дождь в Москве", "🍣 or 🍕?", "x")
IDENTITY = {"version": "5.1.0", "activation_fn": "torch.nn.modules.linear.Identity"}

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore::ortolan.TruncatedWarning")]

KINDS = [
    ("bert", "wordpiece-uncased"),
    pytest.param("xlm-roberta", "unigram", marks=pytest.mark.slow),
    pytest.param("distilbert", "wordpiece-cased", marks=pytest.mark.slow),
    pytest.param("roberta", "byte-level", marks=pytest.mark.slow),
]
models = pytest.mark.parametrize(("model_type", "kind"), KINDS)

Score = Callable[[str, str], float]

ANY = st.text(st.characters(exclude_categories=()), max_size=60)
"""Any string that Python has, lone surrogates too."""


@pytest.fixture(scope="session")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Make a cross-encoder and export it, once; what torch answers comes along."""

    @functools.cache
    def once(model_type: str, kind: str) -> tuple[Path, Model, Score]:
        folder = tmp_path_factory.mktemp(f"ranker-{model_type}")
        made = checkpoints.checkpoint(
            folder / "checkpoint", model_type, "text-classification", kind, id2label={0: "LABEL_0"}
        )
        artifact = checkpoints.artifact(made, folder / "artifact", "text-classification")
        return made, Model.load(artifact.folder, "cpu"), scorer(made)

    return once


def scorer(folder: Path) -> Score:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    module = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()

    @functools.cache
    def logit(query: str, document: str) -> float:
        with torch.inference_mode():
            return float(module(**tokenizer(query, document, truncation=True, return_tensors="pt")).logits[0, 0])

    return logit


def documents(folder: Path) -> list[str]:
    found = list(texts.texts(transformers.AutoTokenizer.from_pretrained(folder)).values())
    assert len(found) >= 40
    return [*found, found[0], found[5], " ".join(found)]  # two of them twice, and one that is too long


def ranked(logits: list[float], activation: Callable[[torch.Tensor], torch.Tensor]) -> list[dict[str, Any]]:
    scores = activation(torch.tensor(logits)).tolist()
    order = sorted(range(len(logits)), key=lambda index: -logits[index])
    return [{"index": index, "score": scores[index]} for index in order]


@models
@pytest.mark.parametrize("query", QUERIES)
def test_documents_are_ranked_as_torch_ranks_them(ranker: Any, model_type: str, kind: str, query: str):
    folder, model, logit = ranker(model_type, kind)
    texts_given = documents(folder)
    logits = [logit(query, document) for document in texts_given]
    found = ortolan.pipeline(TASK, model)(query=query, documents=texts_given)
    assert_same(found, ranked(logits, torch.sigmoid), TASK, query)
    raw = ortolan.pipeline(TASK, model)(query=query, documents=texts_given, function_to_apply="none")
    assert_same(raw, ranked(logits, lambda one: one), TASK, query)


@models
def test_queries_in_a_list_are_ranked_as_each_alone(ranker: Any, model_type: str, kind: str):
    folder, model, _ = ranker(model_type, kind)
    pipe, given = ortolan.pipeline(TASK, model, top_n=5, return_documents=True), documents(folder)
    inputs = [{"query": query, "documents": given[start : start + 12]} for start, query in enumerate(QUERIES)]
    together = pipe(inputs, batch_size=7)
    for one, answer in zip(inputs, together, strict=True):
        alone = pipe(one)
        assert_same(answer, alone, TASK, one["query"])
        assert len(answer) == 5
        assert [found["text"] for found in answer] == [one["documents"][found["index"]] for found in answer]


@pytest.mark.slow
def test_scores_are_logits_where_the_model_was_saved_so(ranker: Any, tmp_path: Path):
    folder, _, logit = ranker("bert", "wordpiece-uncased")
    made = checkpoints.checkpoint(
        tmp_path / "checkpoint",
        "bert",
        "text-classification",
        "wordpiece-uncased",
        id2label={0: "LABEL_0"},
        sentence_transformers=IDENTITY,
    )
    assert json.loads((made / "config.json").read_text(encoding="utf-8"))["sentence_transformers"] == IDENTITY
    artifact = checkpoints.artifact(made, tmp_path / "artifact", "text-classification")
    found = ortolan.pipeline(TASK, artifact.folder, provider="cpu")(query="rain", documents=documents(folder)[:5])
    assert_same(found, ranked([logit("rain", one) for one in documents(folder)[:5]], lambda one: one), TASK)


def test_documents_that_are_too_long_are_cut_with_a_warning(ranker: Any):
    _, model, logit = ranker("bert", "wordpiece-uncased")
    long = "rain and sun " * 300
    pipe = ortolan.pipeline(TASK, model)
    with pytest.warns(TruncatedWarning, match="of a text of 905 tokens only 512 are read"):
        [best, _] = pipe(query="what falls", documents=[long, "sun"])
    assert best["score"] in (
        pytest.approx(torch.sigmoid(torch.tensor(logit("what falls", long))).item(), abs=1e-4),
        pytest.approx(torch.sigmoid(torch.tensor(logit("what falls", "sun"))).item(), abs=1e-4),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe(query="what falls", documents=[long, "sun"], truncation=True)
    with pytest.raises(ortolan.InputTooLongError):
        pipe(query="what falls", documents=[long, "sun"], truncation=False)


@given(query=ANY, documents=st.lists(ANY, min_size=1, max_size=3))
@settings(max_examples=40)
def test_any_text_is_ranked_or_refused(ranker: Any, query: str, documents: list[str]):
    _, model, _ = ranker("bert", "wordpiece-uncased")
    try:
        found = ortolan.pipeline(TASK, model)(query=query, documents=documents)
    except OrtolanError:
        return
    assert sorted(one["index"] for one in found) == list(range(len(documents)))
    assert all(0 <= one["score"] <= 1 for one in found)


def test_ways_to_pass_a_query_are_one(ranker: Any):
    _, model, _ = ranker("bert", "wordpiece-uncased")
    pipe, given = ortolan.pipeline(TASK, model), ["rain", "sun"]
    ways = [
        pipe(query="what", documents=given),
        pipe("what", given),
        pipe({"query": "what", "documents": given}),
        pipe([{"query": "what", "documents": given}])[0],
        next(iter(pipe(iter([{"query": "what", "documents": tuple(given)}])))),
    ]
    for one, other in itertools.pairwise(ways):
        assert_same(one, other, TASK)
