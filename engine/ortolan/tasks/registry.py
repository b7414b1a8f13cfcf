"""Task names to tasks."""

from __future__ import annotations

from typing import Any

from ortolan.errors import UnknownTaskError
from ortolan.tasks.answer import Answer
from ortolan.tasks.base import Task
from ortolan.tasks.classify import Classify
from ortolan.tasks.embed import Embed
from ortolan.tasks.features import Features
from ortolan.tasks.fill_mask import FillMask
from ortolan.tasks.generate import Generate
from ortolan.tasks.rank import Rank
from ortolan.tasks.summarize import Summarize
from ortolan.tasks.tag import Tag
from ortolan.tasks.text2text import Text2Text
from ortolan.tasks.translate import NAMED, Translate
from ortolan.tasks.zero_shot import ZeroShotClassify

_ALL: tuple[Task[Any, Any], ...] = (
    Classify(),
    Tag(),
    Answer(),
    FillMask(),
    Features(),
    Embed(),
    Rank(),
    ZeroShotClassify(),
    Generate(),
    Text2Text(),
    Summarize(),
    Translate(),
)

TASKS: dict[str, Task[Any, Any]] = {task.name: task for task in _ALL}

ALIASES = {"sentiment-analysis": "text-classification", "ner": "token-classification"}


def task_named(name: str) -> Task[Any, Any]:
    """Find a task by the name transformers gives it.

    Args:
        name: One of `TASKS` or `ALIASES`, or one such as "translation_en_to_fr".

    Raises:
        UnknownTaskError: No such task.
    """
    task = Translate(name) if NAMED.fullmatch(name) else TASKS.get(ALIASES.get(name, name))
    if task is None:
        raise UnknownTaskError(
            f"task {name!r} requested", "no such task", f"use one of {', '.join([*TASKS, *ALIASES])}"
        )
    return task


def heads_served(head: str) -> list[str]:
    """Name the tasks that an artifact serves.

    Args:
        head: The task that it was exported for, as its manifest says.
    """
    return [task.name for task in _ALL if head in task.heads]
