"""Standing guard: what is registered is in the README."""

from __future__ import annotations

from pathlib import Path

import pytest

from ortolan.session.providers import PROVIDERS
from ortolan.tasks.registry import ALIASES, TASKS
from ortolan_exporters.architectures.registry import ARCHITECTURES

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
ROWS = [line for line in README.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("name", [*TASKS, *ALIASES, *ARCHITECTURES])
def test_every_task_and_architecture_has_a_row(name: str) -> None:
    assert any(name in row for row in ROWS)


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_provider_has_a_row(name: str) -> None:
    assert any(f"`{name}`" in row for row in ROWS)


def test_the_commands_are_named() -> None:
    assert all(f"make {target}" in README for target in ("demo", "test", "check", "bench"))
