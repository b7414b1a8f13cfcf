from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan import (
    ConfigError,
    InputTooLongError,
    InvalidInputError,
    MissingFileError,
    Model,
    NonFiniteError,
    Pipeline,
    Tokenizer,
    UnknownTaskError,
    pipeline,
)
from tests.engine.damage import GOLDEN, edit_config, edit_json, edit_manifest, mark_segments
from tests.engine.fakes import ConstantSession, FakeSession, fake_model

TASK = "text-classification"
WORDS = ["the", "film", "was", "good", "bad", "i", "love", "hate", "it", "rain", "sun"]
LINES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=60).map(" ".join)
LONG = "rain " * 70


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """The golden artifact, with a tokenizer that marks the second text of a pair."""
    folder = tmp_path_factory.mktemp("tokenizer")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(GOLDEN / name, folder)
    return pipeline(TASK, GOLDEN, tokenizer=mark_segments(folder), provider="cpu", precision="fp32")


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


@pytest.fixture
def faked(artifact: Path, session: FakeSession) -> Pipeline:
    """A pipeline whose raw score grows with the sum of the ids of a text."""
    return pipeline(TASK, fake_model(artifact, session), function_to_apply="none")


def score(*ids: int) -> dict[str, Any]:
    """What `faked` answers to a text with these ids, [CLS] (2) and [SEP] (3) not counted."""
    return {"label": "POSITIVE", "score": pytest.approx((sum(ids) + 5) / 1000)}


THE, FILM, WAS = score(5), score(7), score(8)


# Nesting


def test_a_lone_text_gives_a_list_of_one_label(faked: Pipeline):
    assert faked("the") == [THE]


def test_a_list_of_texts_gives_a_label_for_each(faked: Pipeline):
    assert faked(["the", "film"]) == [THE, FILM]


def test_a_list_of_one_text_gives_a_list_of_one_label(faked: Pipeline):
    assert faked(["the"]) == [THE]


def test_a_tuple_is_a_list(faked: Pipeline):
    assert faked(("the", "film")) == [THE, FILM]


def test_an_empty_list_gives_an_empty_list(faked: Pipeline):
    assert faked([]) == []


def test_a_mapping_alone_gives_one_label_without_list(faked: Pipeline):
    assert faked({"text": "the"}) == THE


def test_a_pair_is_read_together(faked: Pipeline):
    # [CLS] the [SEP] film [SEP]
    assert faked({"text": "the", "text_pair": "film"}) == score(5, 3, 7)


def test_a_list_may_mix_texts_and_pairs(faked: Pipeline):
    assert faked(["the", {"text": "the", "text_pair": "film"}]) == [THE, score(5, 3, 7)]


class Column(Sequence[str]):
    """A sequence that is no list, as a column of a table may be."""

    def __init__(self, *texts: str) -> None:
        self._texts = texts

    def __getitem__(self, index: Any) -> Any:
        return self._texts[index]

    def __len__(self) -> int:
        return len(self._texts)


def test_any_sequence_is_a_list(faked: Pipeline):
    assert faked(Column("the", "film")) == [THE, FILM]


def test_a_generator_gives_an_iterator(faked: Pipeline):
    answers = faked(text for text in ["the", "film"])
    assert isinstance(answers, Iterator)
    assert list(answers) == [THE, FILM]


def test_top_k_of_a_call_nests_a_lone_text(faked: Pipeline):
    assert faked("the", top_k=1) == [THE]


def test_top_k_of_a_call_nests_each_text_of_a_list(faked: Pipeline):
    assert faked(["the", "film"], top_k=1) == [[THE], [FILM]]


def test_top_k_none_gives_every_label(faked: Pipeline):
    assert faked("the", top_k=None) == [THE, {"label": "NEGATIVE", "score": 0.0}]


def test_top_k_of_the_constructor_nests_a_lone_text_twice(artifact: Path):
    # as transformers does: only a call's own top_k takes the outer list away
    made = pipeline(TASK, fake_model(artifact), function_to_apply="none", top_k=1)
    assert made("the") == [[THE]]


def test_top_k_of_a_call_wins_over_the_constructor(artifact: Path):
    made = pipeline(TASK, fake_model(artifact), function_to_apply="none", top_k=1)
    assert len(made("the", top_k=2)) == 2


def test_options_of_a_call_do_not_stay(faked: Pipeline):
    faked("the", top_k=2, function_to_apply="softmax")
    assert faked("the") == [THE]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        # logits 0 and 0.01: 1 / (1 + exp(-0.01)) both times, since softmax of two is the sigmoid of the difference
        pytest.param("softmax", 0.5024999792, id="softmax"),
        pytest.param("sigmoid", 0.5024999792, id="sigmoid"),
        pytest.param("none", 0.01, id="none"),
    ],
)
def test_function_to_apply_makes_the_score(faked: Pipeline, function: str, expected: float):
    assert faked("the", function_to_apply=function)[0]["score"] == pytest.approx(expected)


def test_the_default_function_of_two_labels_is_softmax(artifact: Path):
    made = pipeline(TASK, fake_model(artifact, ConstantSession([0.0, 1.0])))
    # 1 / (1 + exp(-1))
    assert made("the") == [{"label": "POSITIVE", "score": pytest.approx(0.7310586)}]


def test_a_model_whose_config_leaves_the_labels_out_answers_as_transformers_does(artifact: Path):
    edit_config(artifact, lambda config: config.pop("id2label"))
    assert pipeline(TASK, fake_model(artifact))("the")[0]["label"] == "LABEL_1"


# What is refused


@pytest.mark.parametrize(
    ("value", "name"), [(None, "NoneType"), (5, "int"), (b"the", "bytes"), (bytearray(b"the"), "bytearray")], ids=str
)
def test_what_is_no_input_is_refused_with_its_type(faked: Pipeline, value: Any, name: str):
    with pytest.raises(InvalidInputError) as caught:
        faked(value)
    assert str(caught.value) == (
        f"an input requested, got {name}; send a text, a mapping, a list or an iterable of them"
    )


@pytest.mark.parametrize("bad", ["", None, 5, ["the"], {"txt": "the"}, "\ud800"], ids=ascii)
def test_a_bad_element_of_a_list_names_its_index(faked: Pipeline, bad: object):
    with pytest.raises(InvalidInputError, match="at index 2") as caught:
        faked(["the", "film", bad, "was"])
    assert caught.value.index == 2


def test_nothing_is_run_when_one_element_is_bad(faked: Pipeline, session: FakeSession):
    with pytest.raises(InvalidInputError):
        faked(["the", "film", ""])
    assert session.shapes == []


def test_a_lone_bad_text_names_no_index(faked: Pipeline):
    with pytest.raises(InvalidInputError) as caught:
        faked("")
    assert caught.value.index is None


def test_a_text_of_a_list_that_is_too_long_names_its_index(faked: Pipeline):
    with pytest.raises(InputTooLongError, match="text of 72 tokens requested at index 1") as caught:
        faked(["the", LONG])
    assert (caught.value.index, caught.value.length, caught.value.max_length) == (1, 72, 64)


def test_nothing_is_run_when_one_text_is_too_long(faked: Pipeline, session: FakeSession):
    with pytest.raises(InputTooLongError):
        faked(["the", LONG])
    assert session.shapes == []


def test_a_lone_text_that_is_too_long_names_no_index(faked: Pipeline):
    with pytest.raises(InputTooLongError) as caught:
        faked(LONG)
    assert caught.value.index is None


def test_truncation_reads_the_beginning(faked: Pipeline, session: FakeSession):
    faked(LONG, truncation=True)
    assert session.shapes == [(1, 64)]


def test_truncation_of_the_constructor_holds_for_calls(artifact: Path, session: FakeSession):
    pipeline(TASK, fake_model(artifact, session), truncation=True, max_length=10)(LONG)
    assert session.shapes == [(1, 10)]


def test_truncation_of_a_call_wins_over_the_constructor(artifact: Path):
    with pytest.raises(InputTooLongError):
        pipeline(TASK, fake_model(artifact), truncation=True)(LONG, truncation=False)


def test_an_unknown_option_of_the_constructor_is_refused(artifact: Path):
    with pytest.raises(ConfigError, match="option 'topk' requested, text-classification has no such option"):
        pipeline(TASK, fake_model(artifact), topk=1)


def test_an_unknown_option_of_a_call_is_refused(faked: Pipeline):
    with pytest.raises(ConfigError, match="option 'topk' requested, text-classification has no such option"):
        faked("the", topk=1)


@pytest.mark.parametrize("value", [0, -1, 1.5, "8", True], ids=repr)
def test_a_batch_size_that_is_no_count_is_refused_by_its_name(faked: Pipeline, value: Any):
    with pytest.raises(ConfigError) as caught:
        faked("the", batch_size=value)
    assert caught.value.asked == "batch_size requested"


def test_an_answer_that_is_not_finite_is_refused(artifact: Path):
    made = pipeline(TASK, fake_model(artifact, ConstantSession([float("nan"), 0.0])))
    with pytest.raises(NonFiniteError, match="the graph answered NaN or infinity"):
        made("the")


def test_an_unknown_task_is_refused_before_a_model_is_looked_for():
    with pytest.raises(UnknownTaskError, match="task 'divination' requested, no such task"):
        pipeline("divination", "/nowhere")


def test_a_model_of_another_task_names_its_own(artifact: Path):
    edit_manifest(artifact, lambda manifest: manifest.update(task="fill-mask"))
    with pytest.raises(UnknownTaskError) as caught:
        pipeline("sentiment-analysis", artifact)
    assert str(caught.value) == (
        "task 'text-classification' requested, the model serves 'fill-mask'; use task 'fill-mask' or another model"
    )


# Model and tokenizer


def test_a_loaded_model_is_used_as_it_is(artifact: Path):
    model = fake_model(artifact)
    assert pipeline(TASK, model).model is model


def test_the_tokenizer_of_the_model_is_used(artifact: Path):
    model = fake_model(artifact)
    assert pipeline(TASK, model).tokenizer is model.tokenizer


def test_another_tokenizer_may_be_named_by_its_folder(artifact: Path, tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "tokenizer.json").write_bytes((artifact / "tokenizer.json").read_bytes())
    edit_json(other / "tokenizer.json", lambda document: document["model"]["vocab"].update(the=100, zebra=5))
    assert pipeline(TASK, fake_model(artifact), tokenizer=other, function_to_apply="none")("the") == [score(100)]


def test_another_tokenizer_reads_no_more_than_the_model(artifact: Path, tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "tokenizer.json").write_bytes((artifact / "tokenizer.json").read_bytes())
    assert pipeline(TASK, fake_model(artifact), tokenizer=str(other)).tokenizer.max_length == 64


def test_another_tokenizer_may_be_passed_loaded(artifact: Path):
    tokenizer = Tokenizer.load(GOLDEN)
    assert pipeline(TASK, fake_model(artifact), tokenizer=tokenizer).tokenizer is tokenizer


def test_a_tokenizer_that_is_not_there_is_named(artifact: Path, tmp_path: Path):
    with pytest.raises(MissingFileError, match=r"there is no tokenizer\.json"):
        pipeline(TASK, fake_model(artifact), tokenizer=tmp_path)


def test_the_alias_of_a_task_makes_the_task(artifact: Path):
    assert pipeline("sentiment-analysis", fake_model(artifact)).task == "text-classification"


# Batches and streams


def test_a_list_is_sorted_into_batches_of_similar_length(faked: Pipeline, session: FakeSession):
    # 256 tokens a batch: 4 rows of 62 fit, and the 4 rows of 3 go together
    faked(["the " * 60, "the"] * 4)
    assert session.shapes == [(4, 62), (4, 3)]


def test_batch_size_says_how_many_rows_go_together(faked: Pipeline, session: FakeSession):
    faked(["the"] * 5, batch_size=2)
    assert session.shapes == [(2, 3), (2, 3), (1, 3)]


def test_batch_size_holds_however_long_the_rows_are(faked: Pipeline, session: FakeSession):
    faked(["the " * 60] * 8, batch_size=8)
    assert session.shapes == [(8, 62)]


def test_batch_size_of_the_constructor_holds_for_calls(artifact: Path, session: FakeSession):
    pipeline(TASK, fake_model(artifact, session), batch_size=2)(["the"] * 4)
    assert session.shapes == [(2, 3), (2, 3)]


@given(st.lists(LINES, max_size=30), st.none() | st.integers(1, 9))
def test_answers_stand_in_the_order_of_the_texts(texts: list[str], batch_size: int | None):
    made = pipeline(TASK, fake_model(GOLDEN), function_to_apply="none")
    assert made(texts, batch_size=batch_size) == [made(text)[0] for text in texts]


@given(st.lists(LINES, max_size=12), st.none() | st.integers(1, 5))
def test_a_stream_answers_what_a_list_answers(texts: list[str], batch_size: int | None):
    made = pipeline(TASK, fake_model(GOLDEN), function_to_apply="none", batch_size=batch_size)
    assert list(made(iter(texts))) == made(texts)


@pytest.mark.parametrize(
    ("batch_size", "read"), [(None, 1), (1, 1), (4, 4)], ids=["one-at-a-time", "batch-of-one", "batch-of-four"]
)
def test_a_stream_is_read_no_further_than_a_batch_ahead(faked: Pipeline, batch_size: int | None, read: int):
    counter = itertools.count()
    answers = faked(("the" for _ in counter), batch_size=batch_size)
    next(answers)
    assert next(counter) == read


def test_a_stream_is_not_read_before_it_is_asked(faked: Pipeline):
    counter = itertools.count()
    faked("the" for _ in counter)
    assert next(counter) == 0


def test_an_endless_stream_is_answered_as_far_as_asked(faked: Pipeline):
    answers = faked(itertools.cycle(["the", "film", "was"]))
    assert list(itertools.islice(answers, 4)) == [THE, FILM, WAS, THE]


def test_a_bad_element_of_a_stream_names_its_index_after_the_answers_before_it(faked: Pipeline):
    answers = faked(iter(["the", "film", "", "was"]))
    assert [next(answers), next(answers)] == [THE, FILM]
    with pytest.raises(InvalidInputError, match="at index 2"):
        next(answers)


def test_a_text_of_a_stream_that_is_too_long_names_its_index(faked: Pipeline):
    answers = faked(iter(["the", "film", "was", LONG]), batch_size=2)
    with pytest.raises(InputTooLongError, match="at index 3"):
        list(answers)


def test_options_of_a_stream_are_checked_at_once(faked: Pipeline):
    with pytest.raises(ConfigError, match="top_k requested"):
        faked(iter(["the"]), top_k=0)


def test_threads_sharing_a_pipeline_get_what_one_thread_gets(pipe: Pipeline):
    calls = [("the film was good", {}), (["rain", "sun and rain"], {"top_k": 2}), (LONG, {"truncation": True})] * 10
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda call: pipe(call[0], **call[1]), calls))
    assert found == [pipe(inputs, **options) for inputs, options in calls]


# The same as transformers


VARIED = [
    "the film was good",
    "i hate the awful plot and the worst music ever !",
    "what a great day",
    "it is not very good , but i love the actor and the story so much",
    "rain",
    "THEY LIKE IT",
    "  sun \n and\train  ",
    "café, naïve & 雨 😀",
    "don't - 'un-like-able'!",
    "[CLS] [SEP] [MASK]",
    *(" ".join(words) for words in itertools.product(["i", "they"], ["love", "hate"], ["rain", "sun", "it"])),
    *(("good " * number).strip() for number in (2, 5, 11, 30, 62)),
    {"text": "rain"},
    *({"text": first, "text_pair": second} for first, second in itertools.permutations(["i like it", "sad", "!"], 2)),
    *("unlikely " * number + "end" for number in (1, 3, 7)),
    *(f"day {number} was {word}" for number, word in enumerate(["good", "bad", "sad", "happy", "great", "awful"])),
]


@pytest.fixture(scope="module")
def reference() -> Iterator[Any]:
    """Makes transformers' pipeline on the model that the golden artifact was exported from."""
    import torch
    import transformers

    from tests import tiny

    model, tokenizer = tiny.bert(id2label={0: "NEGATIVE", 1: "POSITIVE"}), tiny.tokenizer()
    # as the tokenizers of BERT checkpoints have it; a plain one leaves token_type_ids out
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine, threads of so small a model wait for each other for seconds
    yield lambda **options: transformers.pipeline(TASK, model=model, tokenizer=tokenizer, device="cpu", **options)
    torch.set_num_threads(threads)


def near(value: Any) -> Any:
    """The same nesting, keys and labels; numbers within 1e-4."""
    if isinstance(value, list):
        return [near(one) for one in value]
    if isinstance(value, dict):
        return {key: near(one) for key, one in value.items()}
    return pytest.approx(value, abs=1e-4) if isinstance(value, float) else value


@pytest.mark.parity
def test_a_list_of_varied_texts_is_answered_as_transformers_does(pipe: Pipeline, reference: Any):
    assert len(VARIED) >= 40
    assert pipe(VARIED, top_k=None) == near(reference()(VARIED, top_k=None))


@pytest.mark.parity
def test_varied_texts_one_by_one_are_answered_as_transformers_does(pipe: Pipeline, reference: Any):
    theirs = reference()
    assert [pipe(one) for one in VARIED] == near([theirs(one) for one in VARIED])


INPUTS = {
    "text": "the film was good",
    "list": ["the film was good", "rain"],
    "list-of-one": ["rain"],
    "mapping": {"text": "rain"},
    "pair": {"text": "rain", "text_pair": "sun"},
    "pairs": [{"text": "rain", "text_pair": "sun"}, {"text": "sun", "text_pair": "rain"}],
}
TOP_K: dict[str, dict[str, Any]] = {
    "no-top_k": {},
    "top_k=1": {"top_k": 1},
    "top_k=None": {"top_k": None},
    "top_k=2": {"top_k": 2},
}


@pytest.mark.parity
@pytest.mark.parametrize("of_call", TOP_K.values(), ids=[f"call-{name}" for name in TOP_K])
@pytest.mark.parametrize("of_constructor", TOP_K.values(), ids=[f"constructor-{name}" for name in TOP_K])
@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
def test_answers_are_nested_as_transformers_nests_them(
    pipe: Pipeline, reference: Any, inputs: Any, of_constructor: dict[str, Any], of_call: dict[str, Any]
):
    ours = pipeline(TASK, pipe.model, tokenizer=pipe.tokenizer, **of_constructor)
    theirs = reference(**of_constructor)
    assert ours(inputs, **of_call) == near(theirs(inputs, **of_call))


TOO_LONG = {"text": LONG, "list": ["rain", LONG], "pair": {"text": LONG, "text_pair": LONG}}


@pytest.mark.parity
@pytest.mark.parametrize("inputs", TOO_LONG.values(), ids=TOO_LONG)
@pytest.mark.parametrize("options", [{}, {"max_length": 9}, {"batch_size": 2}], ids=str)
def test_texts_are_truncated_as_transformers_truncates_them(
    pipe: Pipeline, reference: Any, inputs: Any, options: dict[str, Any]
):
    assert pipe(inputs, truncation=True, **options) == near(reference()(inputs, truncation=True, **options))


FUNCTIONS = ["softmax", "sigmoid", "none", None]


@pytest.mark.parity
@pytest.mark.parametrize("of_call", FUNCTIONS, ids=lambda value: f"call-{value}")
@pytest.mark.parametrize("of_constructor", FUNCTIONS, ids=lambda value: f"constructor-{value}")
def test_scores_are_made_as_transformers_makes_them(
    pipe: Pipeline, reference: Any, of_constructor: str | None, of_call: str | None
):
    ours = pipeline(TASK, pipe.model, function_to_apply=of_constructor)
    theirs = reference(function_to_apply=of_constructor)
    found = ours("the film was good", function_to_apply=of_call, top_k=None)
    assert found == near(theirs("the film was good", function_to_apply=of_call, top_k=None))


@pytest.mark.parity
def test_a_stream_is_answered_as_transformers_does(pipe: Pipeline, reference: Any):
    texts = [one for one in VARIED if isinstance(one, str)]
    assert list(pipe(text for text in texts)) == near(list(reference()(text for text in texts)))


@pytest.mark.parity
def test_a_pair_is_not_marked_where_transformers_does_not_mark_it(pipe: Pipeline):
    # the golden's tokenizer is of the class TokenizersBackend, whose model_input_names hold no token_type_ids
    import transformers

    from tests import tiny

    model, tokenizer = tiny.bert(id2label={0: "NEGATIVE", 1: "POSITIVE"}), tiny.tokenizer()
    theirs = transformers.pipeline(TASK, model=model, tokenizer=tokenizer, device="cpu")
    pair = {"text": "rain", "text_pair": "sun"}
    assert pipeline(TASK, pipe.model)(pair) == near(theirs(pair))


def test_int8_gives_the_labels_of_fp32(pipe: Pipeline):
    int8 = pipeline(TASK, Model.load(GOLDEN, provider="cpu", precision="int8"))
    texts = ["the film was good", "i hate the awful plot and the worst music ever !", "what a great day"]
    assert [one["label"] for one in int8(texts)] == [one["label"] for one in pipe(texts)]


def test_strict_batching_gives_each_text_the_answer_that_it_gets_alone():
    pipe = pipeline("text-classification", GOLDEN, precision="int8", top_k=None)
    texts = ["rain", "the film was good", "it is not very good , but i love the actor", "rain"]
    assert pipe(texts, strict_batching=True) == [answer for text in texts for answer in pipe(text)]


@pytest.mark.parametrize("strict", [1, "yes", None], ids=repr)
def test_strict_batching_is_yes_or_no(strict: object):
    with pytest.raises(ConfigError, match="strict_batching requested, got .*; use True or False"):
        pipeline("text-classification", GOLDEN, strict_batching=strict)


def test_strict_batching_and_a_batch_size_exclude_each_other():
    with pytest.raises(ConfigError, match="strict_batching with batch_size=2 requested"):
        pipeline("text-classification", GOLDEN)(["rain"], strict_batching=True, batch_size=2)


def test_an_unknown_option_names_the_known(faked: Pipeline):
    with pytest.raises(ConfigError) as caught:
        faked("the", topk=1)
    assert str(caught.value) == (
        "option 'topk' requested, text-classification has no such option; "
        "it has top_k, function_to_apply, truncation, max_length, batch_size, strict_batching, progress"
    )


def test_no_input_and_two_inputs_are_refused(faked: Pipeline):
    for args in ((), ("the", "film")):
        with pytest.raises(InvalidInputError, match=f"got {len(args)} inputs"):
            faked(*args)


def test_inputs_may_be_named(faked: Pipeline):
    assert faked(inputs="the") == [THE]
