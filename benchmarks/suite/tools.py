"""Question: which contenders does a run of the suite race, and what does it lack for the others?"""

from __future__ import annotations

from collections.abc import Mapping

from ortolan.bench.records import Missing
from ortolan_exporters.contenders.environments import is_ready, pinned_versions
from ortolan_exporters.contenders.registry import ALL, Contender, asked_for, own
from ortolan_exporters.manifest import installed_versions

PRECISIONS = ("fp32", "int8")
"""Of Ortolan's artifacts in the suite."""

FULL = {
    "torch.compile fp32": "it compiles for minutes",
    "optimum int8, per tensor": "the one per channel answers better and is about as quick",
}
"""Raced in full runs alone, and why."""

COMMAND = "python -m ortolan_exporters.contenders.environments"


def others(*, is_full: bool) -> tuple[list[Contender], list[Missing]]:
    """Choose who is raced beside Ortolan.

    Args:
        is_full: Whether all of them are, even if an environment has to be made first, which takes minutes.

    Returns:
        Those that are raced, and why others are not.
    """
    chosen, missing = [], []
    for one in asked_for([ALL]):
        reason = "" if is_full else _lacks(one)
        if reason:
            missing.append(Missing(subject="", contender=one.name, reason=reason))
        else:
            chosen.append(one)
    return chosen, missing


def names(kind: str, task: str) -> list[str]:
    """Name all that a task can be asked of in one way, whether they are raced or not."""
    return [one.name for one in (*asked_for([ALL]), *own(PRECISIONS)) if can(one, kind, task)]


def can(contender: Contender, kind: str, task: str) -> bool:
    """Whether a contender can be asked."""
    return task in contender.kinds.get(kind, ())


def versions(contenders: list[Contender]) -> Mapping[str, Mapping[str, str]]:
    """Versions of packages, by the first word of a contender's name: those that its environment was made of."""
    here = installed_versions()
    found = {one.name.split()[0]: pinned_versions(one.program) or here for one in contenders}
    return {**found, "Ortolan": here, "transformers": here, "tokenizers": here}


def _lacks(contender: Contender) -> str:
    if contender.name in FULL:
        return f"{FULL[contender.name]}: make bench-full races it"
    if all(is_ready(program) for program in (contender.program, *contender.makers)):
        return ""
    return f"its environment is not made yet: {COMMAND}, or make bench-full"
