"""How far long work has come: a bar on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def say(message: str) -> None:
    """Tell the user what happens now."""
    tqdm.write(message, file=sys.stderr)


def track(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Go through `items`, showing how many are done.

    Args:
        items: What to go through.
        what: What is done with them, in a few words.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, leave=False, file=sys.stderr)
        return
    shown = 0
    for done, item in enumerate(items, start=1):
        yield item
        quarter = 4 * done // len(items)
        if quarter > shown:
            shown = quarter
            print(f"{what}: {done} of {len(items)}", file=sys.stderr, flush=True)
