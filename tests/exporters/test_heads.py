"""Heads: what of their outputs is compared, how labelled texts are read, and scores worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from ortolan.errors import InvalidInputError, MissingFileError, UnknownTaskError
from ortolan.tokenize import Encoding
from ortolan_exporters import CheckpointError
from ortolan_exporters.heads.base import IMPOSSIBLE, Examples, Head, ask, real_rows
from ortolan_exporters.heads.registry import ALIASES, HEADS, head_named
from ortolan_exporters.heads.text_generation import places
from tests import tiny

TOKENIZER = tiny.tokenizer()
TOKENIZER.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
PAD, UNK, CLS, SEP, MASK = range(5)
FEED = {
    "input_ids": np.array([[CLS, 9, MASK, SEP], [CLS, MASK, SEP, PAD]]),
    "attention_mask": np.array([[1, 1, 1, 1], [1, 1, 1, 0]]),
}


def ids(*words: str) -> list[int]:
    return [TOKENIZER.convert_tokens_to_ids(word) for word in words]


def config(**entries: object) -> transformers.BertConfig:
    return transformers.BertConfig(id2label={0: "NEGATIVE", 1: "POSITIVE"}, **entries)


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "labelled.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return path


def read(task: str, folder: Path, *rows: dict[str, Any], max_length: int = 64) -> Examples:
    return HEADS[task].read(write(folder, *rows), TOKENIZER, config(), max_length)


def decide(task: str, **outputs: np.ndarray) -> list[np.ndarray]:
    return HEADS[task].decisions(outputs, FEED, TOKENIZER)


GOOD_LINES: dict[str, dict[str, Any]] = {
    "text-classification": {"text": "a film", "label": 1},
    "token-classification": {"tokens": ["a", "film"], "labels": [0, "POSITIVE"]},
    "question-answering": {"question": "what ?", "context": "a film", "answers": ["film"]},
    "text-generation": {"text": "a film"},
    "fill-mask": {"text": "a [MASK] film", "label": "good"},
    "sentence-embedding": {"text": "a film", "text_pair": "a plot", "score": 0.5},
}

BAD_LINES: list[tuple[str, dict[str, Any], str]] = [
    ("text-classification", {"label": 1}, "no key 'text'"),
    ("text-classification", {"text": "a"}, "got None; the model has NEGATIVE, POSITIVE"),
    ("text-classification", {"text": "a", "label": "NEUTRAL"}, "got 'NEUTRAL'; the model has NEGATIVE, POSITIVE"),
    ("token-classification", {"tokens": ["a"]}, 'no words and labels, as many of each; write one {"tokens"'),
    ("token-classification", {"tokens": ["a", "b"], "labels": [1]}, "no words and labels"),
    ("token-classification", {"tokens": [], "labels": []}, "no words and labels"),
    ("token-classification", {"tokens": "a", "labels": "b"}, "no words and labels"),
    ("token-classification", {"tokens": [1], "labels": [1]}, "no words and labels"),
    ("token-classification", {"tokens": ["a"], "labels": ["PER"]}, "got 'PER'; the model has NEGATIVE, POSITIVE"),
    ("question-answering", {"question": "what ?", "context": "a film"}, "no question, context and answers"),
    ("question-answering", {"question": "what ?", "context": "a film", "answers": []}, "no question, context"),
    ("question-answering", {"question": "what ?", "context": "a film", "answers": [1]}, "no question, context"),
    ("question-answering", {"question": 1, "context": "a film", "answers": ["film"]}, "no question, context"),
    ("question-answering", {"question": "what ?", "answers": ["film"]}, "no question, context and answers"),
    ("text-generation", {"label": 1}, "no key 'text'"),
    ("fill-mask", {"text": "a good film", "label": "good"}, r"not one \[MASK\] and a label that is one token"),
    ("fill-mask", {"text": "a [MASK] [MASK]", "label": "good"}, r"not one \[MASK\]"),
    ("fill-mask", {"text": "a [MASK]", "label": "zebra"}, "a label that is one token"),
    ("fill-mask", {"text": "a [MASK]", "label": 7}, "a label that is one token"),
    ("fill-mask", {"text": "a [MASK]"}, "a label that is one token"),
    ("fill-mask", {"label": "good"}, "no key 'text'"),
    ("sentence-embedding", {"text": "a", "score": 1}, "not two texts and a score"),
    ("sentence-embedding", {"text": "a", "text_pair": "b"}, "not two texts and a score"),
    ("sentence-embedding", {"text": "a", "text_pair": "b", "score": "1"}, "not two texts and a score"),
    ("sentence-embedding", {"text": "a", "text_pair": "b", "score": True}, "not two texts and a score"),
]


@pytest.mark.parametrize(("task", "line", "message"), BAD_LINES, ids=lambda part: part if isinstance(part, str) else "")
def test_line_that_is_no_example_is_named(task: str, line: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=f"labelled.jsonl', line 2, requested, .*{message}"):
        read(task, tmp_path, GOOD_LINES[task], line)


@pytest.mark.parametrize("task", GOOD_LINES)
def test_file_that_is_not_there_is_named(task: str, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nowhere.jsonl' requested, there is no such file"):
        HEADS[task].read(tmp_path / "nowhere.jsonl", TOKENIZER, config(), 64)


@pytest.mark.parametrize("task", GOOD_LINES)
def test_texts_are_cut_to_what_the_model_reads(task: str, tmp_path: Path) -> None:
    long = {key: f"{value} {'a ' * 50}" for key, value in GOOD_LINES[task].items() if key in ("text", "context")}
    if task == "token-classification":
        long = {"tokens": ["a"] * 50, "labels": [0] * 50}
    examples = read(task, tmp_path, {**GOOD_LINES[task], **long}, max_length=12)
    assert len(examples.encodings[0].ids) == 12


def test_head_is_found_by_its_task_and_by_other_names_of_it() -> None:
    assert [head.task for head in HEADS.values()] == list(HEADS)
    assert {name: head_named(name).task for name in ALIASES} == {
        "sentiment-analysis": "text-classification",
        "ner": "token-classification",
        "sentence-similarity": "sentence-embedding",
        "summarization": "text2text-generation",
        "translation": "text2text-generation",
    }
    with pytest.raises(UnknownTaskError, match="'telepathy' requested, no such task; use one of text-classification,"):
        head_named("telepathy")


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("token-classification", "softmax"),
        ("question-answering", "softmax"),
        ("fill-mask", "softmax"),
        ("text-generation", "softmax"),
        ("text2text-generation", "softmax"),
        ("feature-extraction", "cosine"),
        ("sentence-embedding", "cosine"),
    ],
)
def test_choices_are_compared_as_probabilities_and_vectors_by_direction(task: str, expected: str) -> None:
    assert HEADS[task].measure(config()) == expected


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({}, "softmax"),
        ({"problem_type": "multi_label_classification"}, "sigmoid"),
        ({"problem_type": "regression"}, "none"),
    ],
    ids=["one label", "several labels", "a number"],
)
def test_classifier_is_compared_as_it_was_trained(entries: dict[str, str], expected: str) -> None:
    assert HEADS["text-classification"].measure(config(**entries)) == expected


def test_outputs_come_in_the_order_of_the_head_and_layers_after_them() -> None:
    def answer(module: object, inputs: object, **options: bool) -> dict[str, Any]:
        assert options == {"output_hidden_states": True}
        return {"hidden_states": (torch.zeros(1), torch.ones(1)), "end_logits": 2, "start_logits": 1, "more": 0}

    found = ask(answer, HEADS["question-answering"], None, {}, ("hidden_states",))
    assert list(found) == ["start_logits", "end_logits", "hidden_states.0", "hidden_states.1"]


def test_encoder_speaks_for_a_model_that_has_a_decoder_too() -> None:
    class Both(torch.nn.Module):
        config = transformers.PretrainedConfig(is_encoder_decoder=True)

        def get_encoder(self) -> Any:
            return lambda **inputs: {"last_hidden_state": inputs["input_ids"] + 1}

    found = HEADS["feature-extraction"].answer(Both(), {"input_ids": torch.ones(1)})
    assert found == {"last_hidden_state": torch.tensor([2.0])}


# What is compared.


def test_text_is_one_decision() -> None:
    found = decide("text-classification", logits=np.array([[1, 2, 3], [4, 5, 6]]))
    assert [row.tolist() for row in found] == [[[1, 2, 3]], [[4, 5, 6]]]
    assert found[0].dtype == np.float32


def test_each_token_is_a_decision_but_for_padding() -> None:
    found = decide("token-classification", logits=np.arange(16).reshape(2, 4, 2))
    assert [row.tolist() for row in found] == [[[0, 1], [2, 3], [4, 5], [6, 7]], [[8, 9], [10, 11], [12, 13]]]
    assert [len(row) for row in real_rows(np.zeros((2, 4)), FEED)] == [4, 3]


def test_question_is_two_decisions_and_no_answer_stands_in_padding() -> None:
    start, end = np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), np.array([[4, 3, 2, 1], [8, 7, 6, 5]])
    found = decide("question-answering", start_logits=start, end_logits=end)
    assert found[0].tolist() == [[1, 2, 3, 4], [4, 3, 2, 1]]
    assert found[1].tolist() == [[5, 6, 7, IMPOSSIBLE], [8, 7, 6, IMPOSSIBLE]]


def test_each_mask_is_a_decision() -> None:
    logits = np.arange(2 * 4 * 3).reshape(2, 4, 3)
    assert [row.tolist() for row in decide("fill-mask", logits=logits)] == [[[6, 7, 8]], [[15, 16, 17]]]


@pytest.mark.parametrize("task", ["text-generation", "text2text-generation"])
def test_each_next_token_is_a_decision_but_behind_padding(task: str) -> None:
    logits = np.arange(2 * 4 * 3).reshape(2, 4, 3)
    found = decide(task, logits=logits)
    assert [row.tolist() for row in found] == [logits[0].tolist(), logits[1, :3].tolist()]


@pytest.mark.parametrize(
    ("length", "vocabulary", "expected"),
    [
        (4, 600, [0, 1, 2, 3]),
        (31, 600, list(range(0, 31, 2))),
        (31, 50_000, [0, 30]),
        (31, 200_000, [30]),
        (1, 600, [0]),
    ],
    ids=["all", "sixteen", "two of a large vocabulary", "the last of a very large one", "one token"],
)
def test_places_that_are_compared_are_fewer_where_the_vocabulary_is_large(
    length: int, vocabulary: int, expected: list[int]
) -> None:
    assert places(length, vocabulary) == expected


def test_tokens_that_are_compared_are_spread_over_a_long_text() -> None:
    length = 100
    feed = {"attention_mask": (np.arange(length) < np.array([[100], [3]])).astype(np.int64)}
    states = np.broadcast_to(np.arange(length, dtype=np.float32)[None, :, None], (2, length, 1))
    long, short = HEADS["feature-extraction"].decisions({"last_hidden_state": states}, feed, TOKENIZER)
    assert (len(long), long[0, 0], long[-1, 0]) == (16, 0, 99)
    assert set(np.diff(long[:, 0])) <= {6, 7}
    assert short[:, 0].tolist() == [0, 1, 2]


def test_sentence_is_one_vector() -> None:
    found = decide("sentence-embedding", last_hidden_state=np.zeros((2, 4, 2)), sentence_embedding=np.eye(2))
    assert [row.tolist() for row in found] == [[[1, 0]], [[0, 1]]]


# What is asked.


def test_middle_word_of_a_text_is_hidden_where_no_mask_is() -> None:
    texts = [[CLS, 9, 10, 11, SEP], [CLS, MASK, 9, SEP], [CLS, SEP]]
    found = HEADS["fill-mask"].prepare([Encoding(row, [0] * len(row), [(0, 0)] * len(row)) for row in texts], TOKENIZER)
    assert [one.ids for one in found] == [[CLS, 9, MASK, 11, SEP], [CLS, MASK, 9, SEP], [CLS, SEP]]


@pytest.mark.parametrize("task", HEADS.keys() - {"fill-mask"})
def test_other_heads_are_asked_the_texts_themselves(task: str) -> None:
    encodings = [Encoding([CLS, 9, SEP], [0] * 3, [(0, 0)] * 3)]
    assert HEADS[task].prepare(encodings, TOKENIZER) == encodings


def test_questions_come_with_contexts_and_any_text_will_do_for_the_others() -> None:
    texts = HEADS["question-answering"].texts()
    assert texts is not None
    assert len(texts) >= 20
    assert all(item.text.endswith("?") and item.text_pair for item in texts)
    assert [task for task, head in HEADS.items() if head.texts() is None] == [
        task for task in HEADS if task != "question-answering"
    ]


# Scores.


def test_accuracy_is_the_share_of_right_labels(tmp_path: Path) -> None:
    rows = [{"text": "a film", "label": "POSITIVE"}, {"text": "a", "text_pair": "plot", "label": 0}]
    examples = read("text-classification", tmp_path, *rows, {"text": "rain", "label": 1})
    assert examples.answers == [1, 0, 1]
    assert examples.encodings[1].ids == [CLS, *ids("a"), SEP, *ids("plot"), SEP]
    assert examples.encodings[1].type_ids == [0, 0, 0, 1, 1]
    answers = [np.array([row], np.float32) for row in ([0, 1], [0, 1], [0, 1])]
    assert HEADS["text-classification"].score(answers, examples.answers) == pytest.approx(2 / 3)


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_accuracy_needs_one_label_a_text(problem: str, tmp_path: Path) -> None:
    path = write(tmp_path, {"text": "a", "label": 1})
    with pytest.raises(CheckpointError, match="accuracy needs a model with one label a text; leave the data out"):
        HEADS["text-classification"].read(path, TOKENIZER, config(problem_type=problem), 64)


def test_words_are_scored_by_their_first_tokens(tmp_path: Path) -> None:
    rows = [{"tokens": ["filmed", "rain"], "labels": ["POSITIVE", 0]}, {"tokens": ["sun"], "labels": [1]}]
    examples = read("token-classification", tmp_path, *rows)
    pieces = len(TOKENIZER.tokenize("filmed"))
    assert pieces > 1
    assert examples.answers == [[(1, 1), (1 + pieces, 0)], [(1, 1)]]
    first = np.zeros((pieces + 3, 2), np.float32)
    first[1, 1] = 1  # right
    first[2, 1] = 1  # within a word: not looked at
    first[1 + pieces, 1] = 1  # wrong
    second = np.array([[0, 0], [0, 1], [0, 0]], np.float32)  # right
    assert HEADS["token-classification"].score([first, second], examples.answers) == pytest.approx(2 / 3)


def test_words_that_are_cut_off_are_not_scored(tmp_path: Path) -> None:
    row = {"tokens": ["a", "film", "was", "good"], "labels": [1, 1, 1, 1]}
    assert read("token-classification", tmp_path, row, max_length=4).answers == [[(1, 1), (2, 1)]]


def spans(length: int, **best: int) -> np.ndarray:
    """Logits [2, S] whose best start and end stand where it is said."""
    rows = np.zeros((2, length), np.float32)
    rows[0, best["start"]], rows[1, best["end"]] = 5, 5
    return rows


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (6, 7, 1.0),
        (6, 6, 2 / 3),
        (4, 7, 2 / 3),
        (4, 4, 0.0),
    ],
    ids=["the answer", "one of its two words", "two words more", "another one"],
)
def test_f1_of_words_by_hand(start: int, end: int, expected: float, tmp_path: Path) -> None:
    # [CLS] what ? [SEP] the film was awful [SEP]: "was awful" are tokens 6 and 7
    row = {"question": "what ?", "context": "The film was awful", "answers": ["nothing", "WAS  awful"]}
    examples = read("question-answering", tmp_path, row)
    assert examples.encodings[0].ids == [CLS, *ids("what", "?"), SEP, *ids("the", "film", "was", "awful"), SEP]
    head = HEADS["question-answering"]
    assert head.score([spans(9, start=start, end=end)], examples.answers) == pytest.approx(expected)


def test_answer_ends_where_it_begins_or_later_and_stands_in_the_context(tmp_path: Path) -> None:
    row = {"question": "what ?", "context": "the film was awful", "answers": ["awful"]}
    examples = read("question-answering", tmp_path, row)
    logits = np.zeros((2, 9), np.float32)
    logits[0] = [9, 9, 0, 0, 0, 0, 0, 3, 0]  # better starts stand outside of the context
    logits[1] = [0, 0, 9, 0, 2, 0, 0, 1, 9]  # a better end stands before the start
    assert HEADS["question-answering"].score([logits], examples.answers) == 1.0


def test_answer_is_not_longer_than_thirty_tokens(tmp_path: Path) -> None:
    row = {"question": "what ?", "context": " ".join(["a"] * 31 + ["film"]), "answers": ["film"]}
    examples = read("question-answering", tmp_path, row)
    logits = spans(len(examples.encodings[0].ids), start=4, end=4 + 31)
    logits[0, 4 + 31] = 1  # from 4 on would be 32 tokens: the start with the next best sum has to do
    assert HEADS["question-answering"].score([logits], examples.answers) == 1.0


def test_context_that_was_cut_off_holds_no_answer(tmp_path: Path) -> None:
    row = {"question": "what ?", "context": "the film was awful", "answers": ["awful"]}
    examples = read("question-answering", tmp_path, row, max_length=7)
    logits = spans(7, start=5, end=5)
    assert HEADS["question-answering"].score([logits], examples.answers) == 0.0


def test_question_that_leaves_no_room_for_its_context_is_named(tmp_path: Path) -> None:
    long = {**GOOD_LINES["question-answering"], "question": "what " * 20}
    with pytest.raises(InvalidInputError, match="line 2, requested, its question leaves no room for the context"):
        read("question-answering", tmp_path, GOOD_LINES["question-answering"], long, max_length=16)


def test_answers_may_stand_as_in_squad(tmp_path: Path) -> None:
    row = {"question": "what ?", "context": "a film", "answers": {"text": ["film", "a film"], "answer_start": [2, 0]}}
    examples = read("question-answering", tmp_path, row)
    assert HEADS["question-answering"].score([spans(7, start=4, end=5)], examples.answers) == 1.0


def test_masks_are_scored_by_their_best_token(tmp_path: Path) -> None:
    rows = [{"text": "a [MASK] film", "label": "good"}, {"text": "[MASK] plot", "label": "the"}]
    examples = read("fill-mask", tmp_path, *rows)
    assert examples.answers == ids("good", "the")
    best = np.zeros((1, len(TOKENIZER)), np.float32)
    best[0, ids("good")[0]] = 1
    assert HEADS["fill-mask"].score([best, best], examples.answers) == 0.5


def test_next_tokens_are_scored_by_how_the_text_goes_on(tmp_path: Path) -> None:
    examples = read("text-generation", tmp_path, {"text": "a film"})
    assert examples.encodings[0].ids == [CLS, *ids("a", "film"), SEP]
    assert examples.answers == [[*ids("a", "film"), SEP, None]]
    best = np.zeros((4, len(TOKENIZER)), np.float32)
    best[0, ids("a")[0]] = best[1, ids("film")[0]] = best[2, ids("the")[0]] = 1
    assert HEADS["text-generation"].score([best], examples.answers) == pytest.approx(2 / 3)


def test_answers_of_a_decoder_have_no_score(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="compared with torch's and with nothing else; leave the data out"):
        HEADS["text2text-generation"].read(write(tmp_path, {"text": "a"}), TOKENIZER, config(), 64)


def test_decoder_is_asked_the_text_itself_where_nobody_says_what_it_has_written() -> None:
    asked: dict[str, Any] = {}

    class Module(torch.nn.Module):
        config = transformers.T5Config(decoder_start_token_id=7)

        def forward(self, **inputs: Any) -> dict[str, Any]:
            asked.update(inputs)
            return {"logits": 1}

    HEADS["text2text-generation"].answer(Module(), {"input_ids": torch.tensor([[4, 5, 6], [8, 9, 0]])})
    assert asked["decoder_input_ids"].tolist() == [[7, 4, 5], [7, 8, 9]]
    assert asked["use_cache"] is False


def test_embeddings_are_scored_by_the_order_of_their_cosines(tmp_path: Path) -> None:
    scores = (0.1, 0.5, 0.9)
    rows = [{"text": "a film", "text_pair": "a plot", "score": score} for score in scores]
    examples = read("sentence-embedding", tmp_path, *rows)
    assert (len(examples.encodings), examples.answers) == (6, list(scores))
    assert examples.encodings[1].ids == [CLS, *ids("a", "plot"), SEP]
    pairs = [([1, 0], [0, 3]), ([1, 0], [9, 1]), ([2, 0], [1, 1])]  # cosines 0, 0.99, 0.71
    answers = [np.array([vector], np.float32) for pair in pairs for vector in pair]
    assert HEADS["sentence-embedding"].score(answers, examples.answers) == pytest.approx(0.5)


def test_hidden_states_have_no_score(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="hidden states are compared with torch's and with nothing else"):
        HEADS["feature-extraction"].read(write(tmp_path, {"text": "a"}), TOKENIZER, config(), 64)


def test_head_needs_its_own_decisions() -> None:
    with pytest.raises(NotImplementedError):
        Head().decisions({}, FEED, TOKENIZER)
