"""Task names to tasks."""

from __future__ import annotations

from typing import Any

from ortolan.errors import UnknownTaskError
from ortolan.tasks.base import Task
from ortolan.tasks.classify import Classify

TASKS: dict[str, Task[Any]] = {
    "text-classification": Classify(),
}

ALIASES = {"sentiment-analysis": "text-classification"}


def task_named(name: str) -> Task[Any]:
    """Find a task by the name transformers gives it.

    Raises:
        UnknownTaskError: No such task.
    """
    task = TASKS.get(ALIASES.get(name, name))
    if task is None:
        raise UnknownTaskError(
            f"task {name!r} requested", "no such task", f"use one of {', '.join([*TASKS, *ALIASES])}"
        )
    return task
