"""summarization: a text in fewer words."""

from __future__ import annotations

from ortolan.tasks.text2text import Text2Text


class Summarize(Text2Text):
    """Say what a text says in fewer words."""

    name = "summarization"
    result = "summary"
