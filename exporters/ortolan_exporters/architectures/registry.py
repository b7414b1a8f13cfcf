"""`model_type` to architecture, and heads to tasks."""

from __future__ import annotations

from typing import Any

from ortolan.errors import UnknownTaskError
from ortolan.tasks.registry import task_named
from ortolan_exporters.architectures.base import Architecture
from ortolan_exporters.architectures.bert import BERT
from ortolan_exporters.architectures.distilbert import DISTILBERT
from ortolan_exporters.errors import UnsupportedArchitectureError

ARCHITECTURES = {row.model_type: row for row in (BERT, DISTILBERT)}


def architecture_of(config: Any) -> Architecture:
    """Find the architecture of a config.

    Raises:
        UnsupportedArchitectureError: None is registered for its `model_type`; the message lists those that are.
    """
    model_type = getattr(config, "model_type", None)
    if model_type not in ARCHITECTURES:
        raise UnsupportedArchitectureError(
            f"export of model_type {model_type!r} requested",
            "no exporter is registered for it",
            f"use one of {', '.join(sorted(ARCHITECTURES))}",
        )
    return ARCHITECTURES[str(model_type)]


def task_of(architecture: Architecture, config: Any, asked: str | None, new_head: bool) -> str:
    """Choose the task: the one asked for, else the one that the checkpoint's head serves.

    Args:
        architecture: The architecture.
        config: Its config, whose `architectures` names the class that was saved.
        asked: Name of a task, or None.
        new_head: Whether a new head is to be made, for which any task will do.

    Raises:
        UnknownTaskError: No such task.
        UnsupportedArchitectureError: The architecture has no such head, or the checkpoint has none that is known.
    """
    if asked is not None:
        task = task_named(asked).name
        if task not in architecture.heads:
            raise UnsupportedArchitectureError(
                f"task '{task}' requested",
                f"{architecture.model_type} is exported for {', '.join(architecture.heads)}",
                "choose one of those",
            )
        return task
    saved = [str(name) for name in getattr(config, "architectures", None) or ()]
    for task, head in architecture.heads.items():
        if head in saved or (new_head and len(architecture.heads) == 1):
            return task
    raise UnknownTaskError(
        "the task of the checkpoint requested",
        f"it was saved as {saved or 'no known class'}",
        f"pass task= (one of {', '.join(architecture.heads)}); with num_labels= a new head is made",
    )
