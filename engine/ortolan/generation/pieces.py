"""Token ids to pieces of text, as they are written: no piece ends within a character or a stop string."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from functools import partial

from ortolan.generation.stopping import Decode
from ortolan.generation.values import UNFINISHED
from ortolan.tokenize import Tokenizer

KEPT = 8
"""Tokens that stay in the window when it moves: more than a decoder treats in its own way at the beginning of a text,
and with more bytes than a character has."""


class Pieces:
    """A text in the making, told piece by piece.

    The pieces, joined, are the text that decoding all ids at once gives. Each is told once: what may still change, or
    may be the beginning of a stop string, waits for the next one. Only a window of the last tokens is decoded, so that
    a text takes time in proportion to its length.

    Args:
        decode: Ids to text; those that it says nothing of, such as special tokens, are left out of the window. It
            must not clean up spaces.
        stops: Stop strings. One that is complete is told as a whole, for it stays in the text.
        replacements: What is replaced in the decoded text, one after the other, as by `str.replace`: this is how spaces
            are cleaned up piece by piece.
        bytes_among: Ids of tokens that stand for a byte each and are decoded together with all such tokens beside them:
            nothing is told from the first of them on until another token comes.
    """

    def __init__(
        self,
        decode: Decode,
        stops: Sequence[str] = (),
        *,
        replacements: Iterable[tuple[str, str]] = (),
        bytes_among: Container[int] = (),
    ) -> None:
        self._decode = decode
        self._stops = tuple(stops)
        self._replaced = [_Replaced(before, after) for before, after in replacements]
        self._bytes = bytes_among
        self._read = 0  # ids that were fed
        self._window: list[int] = []
        self._told = 0  # characters of the window's text that went on from here
        self._waiting = ""  # the beginning of a stop string, perhaps
        self._is_silent: dict[int, bool] = {}

    def feed(self, ids: Sequence[int]) -> str:
        """Take what was written.

        Args:
            ids: All ids written so far; they begin with those of the call before.

        Returns:
            The next piece; "" if nothing can be said yet.
        """
        self._take(ids)
        if not self._window or self._window[-1] in self._bytes:
            return ""
        text = self._decode(self._window)
        new = self._new(text, len(text) - text.endswith(UNFINISHED))
        self._move(text)
        for one in self._replaced:
            new = one.feed(new)
        return self._without_stops(new)

    def flush(self) -> str:
        """Give the rest, when nothing more is written."""
        text = self._decode(self._window)
        new = self._new(text, len(text))
        for one in self._replaced:
            new = one.feed(new) + one.flush()
        piece, self._waiting = self._waiting + new, ""
        return piece

    def _take(self, ids: Sequence[int]) -> None:
        for token in ids[self._read :]:
            if token not in self._is_silent:
                # twice, for a token that is only a space says nothing at the beginning of a text
                self._is_silent[token] = not self._decode([token, token])
            if not self._is_silent[token]:
                self._window.append(token)
        self._read = len(ids)

    def _new(self, text: str, end: int) -> str:
        new = text[self._told : end]
        self._told = max(self._told, end)
        return new

    def _move(self, text: str) -> None:
        """Shorten the window if it is long, and what is left of it ends in the same text."""
        if len(self._window) < 2 * KEPT:
            return
        kept = self._window[-KEPT:]
        tail = self._decode(kept)
        told = len(tail) - (len(text) - self._told)
        # the last character told must be there too: the first ones of a window may be lost or differ
        if min(told, self._told) > 0 and tail[told - 1 :] == text[self._told - 1 :]:
            self._window, self._told = kept, told

    def _without_stops(self, new: str) -> str:
        text = self._waiting + new
        complete = any(stop in text for stop in self._stops)
        end = len(text) if complete else len(text) - beginning(text, self._stops)
        self._waiting = text[end:]
        return text[:end]


def pieces(
    tokenizer: Tokenizer, stops: Sequence[str] = (), *, skip_special_tokens: bool = True, cleans_up: bool | None = None
) -> Pieces:
    """Make pieces of what a tokenizer decodes; joined they are what its `decode` makes of all ids.

    Args:
        tokenizer: Of the model.
        stops: Stop strings.
        skip_special_tokens: Leave special tokens out.
        cleans_up: Whether spaces before punctuation are taken out; by default as the checkpoint says.
    """
    return Pieces(
        partial(tokenizer.decode, skip_special_tokens=skip_special_tokens, cleans_up=False),
        stops,
        replacements=tokenizer.replacements(cleans_up),
        bytes_among=tokenizer.byte_ids,
    )


def beginning(text: str, wanted: Sequence[str]) -> int:
    """Count the characters at the end of a text that one of some strings may begin with, but not all of that string.

    Args:
        text: Any text.
        wanted: Strings with a character at least.

    Returns:
        The largest such number; 0 if there is none.
    """
    longest = max((len(one) for one in wanted), default=1) - 1
    firsts = {one[0] for one in wanted}
    for start in range(max(0, len(text) - longest), len(text)):
        if text[start] in firsts:
            tail = text[start:]
            if any(len(one) > len(tail) and one.startswith(tail) for one in wanted):
                return len(tail)
    return 0


class _Replaced:
    """`str.replace` for a text that comes in pieces."""

    def __init__(self, before: str, after: str) -> None:
        self._before = before
        self._after = after
        self._waiting = ""

    def feed(self, text: str) -> str:
        *done, rest = (self._waiting + text).split(self._before)
        end = len(rest) - beginning(rest, [self._before])
        self._waiting = rest[end:]
        return self._after.join([*done, rest[:end]])

    def flush(self) -> str:
        rest, self._waiting = self._waiting, ""
        return rest
