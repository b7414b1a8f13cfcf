"""Standing guards: what is registered is in the README, and the pages in docs say what is true."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import ortolan
from ortolan.batch.counters import Counters
from ortolan.generation.config import OPTIONS
from ortolan.session.providers import PROVIDERS
from ortolan.tasks.registry import ALIASES, TASKS
from ortolan_exporters.architectures.registry import ARCHITECTURES
from tests.engine.damage import GOLDEN

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
ENGINE = (Path(__file__).parents[1] / "docs" / "engine.md").read_text(encoding="utf-8")
GENERATION = (Path(__file__).parents[1] / "docs" / "generation.md").read_text(encoding="utf-8")
ROWS = [line for line in README.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("name", [*TASKS, *ALIASES, *ARCHITECTURES])
def test_every_task_and_architecture_has_a_row(name: str) -> None:
    assert any(name in row for row in ROWS)


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_provider_has_a_row(name: str) -> None:
    assert any(f"`{name}`" in row for row in ROWS)


def test_the_commands_are_named() -> None:
    assert all(f"make {target}" in README for target in ("demo", "test", "check", "bench"))


@pytest.mark.parametrize("kind", [ortolan.BatchingConfig, ortolan.Timing, Counters])
def test_every_setting_and_every_number_of_the_engine_has_a_row(kind: Any) -> None:
    rows = [line.split("|")[1] for line in ENGINE.splitlines() if line.startswith("| `")]
    assert [field.name for field in fields(kind) if not any(f"`{field.name}`" in row for row in rows)] == []


def test_the_defaults_of_the_engine_are_those_of_its_page() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)`", ENGINE.partition("## Settings")[2], re.MULTILINE))
    settings = ortolan.BatchingConfig()
    assert {field.name: getattr(settings, field.name) for field in fields(settings)} == {
        name: ast.literal_eval(default) for name, default in rows.items()
    }


def test_every_option_of_generation_is_on_its_page() -> None:
    assert [name for name in OPTIONS if f"`{name}`" not in GENERATION] == []


@pytest.mark.parametrize(
    "page", [README.partition("## In a service")[2].partition("\n## ")[0], ENGINE], ids=["README", "engine.md"]
)
def test_the_lines_about_the_engine_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sentiment", "sentiment-v2", "topics"):
        shutil.copytree(GOLDEN, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert blocks
    known: dict[str, Any] = {}

    async def run() -> None:
        for block in blocks:
            code = compile(block, "page", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            if inspect.iscoroutine(waits := eval(code, known)):
                await waits

    asyncio.run(run())
