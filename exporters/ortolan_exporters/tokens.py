"""Labelled texts to encodings, with the tokenizer of transformers: what is right is said of words and spans."""

from __future__ import annotations

from typing import Any

from ortolan.tokenize import Encoding


def encode(tokenizer: Any, text: str, pair: str | None, max_length: int) -> Encoding:
    """Tokenize a text or a pair, cut to `max_length` tokens."""
    return _encoding(tokenizer(text, pair, truncation=True, max_length=max_length, return_offsets_mapping=True))


def encode_words(tokenizer: Any, words: list[str], max_length: int) -> tuple[Encoding, dict[int, int]]:
    """Tokenize a text that is cut into words already.

    Returns:
        The encoding, and for each word that was not cut off the position of its first token.
    """
    found = tokenizer(
        words, is_split_into_words=True, truncation=True, max_length=max_length, return_offsets_mapping=True
    )
    starts: dict[int, int] = {}
    for position, word in enumerate(found.word_ids()):
        if word is not None:
            starts.setdefault(word, position)
    return _encoding(found), starts


def encode_question(
    tokenizer: Any, question: str, context: str, max_length: int
) -> tuple[Encoding, list[tuple[int, int] | None]]:
    """Tokenize a question with its context, the end of which may be cut off.

    Returns:
        The encoding, and for each token its place in the context, in characters; None for tokens outside.
    """
    found = tokenizer(question, context, truncation="only_second", max_length=max_length, return_offsets_mapping=True)
    pairs = zip(found.sequence_ids(), found["offset_mapping"], strict=True)
    return _encoding(found), [(start, end) if text == 1 else None for text, (start, end) in pairs]


def _encoding(found: Any) -> Encoding:
    ids = found["input_ids"]
    return Encoding(ids, found.get("token_type_ids", [0] * len(ids)), found["offset_mapping"])
