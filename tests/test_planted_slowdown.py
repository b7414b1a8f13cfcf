"""A slow-down of a fifth in the session layer is found by `ortolan bench --compare`, and noise alone is none.

The records were measured on a shared machine by tests/goldens/make_planted_slowdown.py: real runs with real noise.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ortolan.bench.records import read_record
from ortolan.cli import main

FOLDER = Path(__file__).parent / "goldens" / "planted-slowdown"
BEFORE = str(FOLDER / "before.jsonl")
OWN = "Ortolan int8"


@pytest.mark.parametrize("number", range(10))
def test_a_slower_session_is_found(number: int, capsys: pytest.CaptureFixture[str]):
    assert main(["bench", str(FOLDER / f"slower-{number}.jsonl"), "--compare", BEFORE]) == 1
    told = capsys.readouterr().out.splitlines()
    assert any(line.startswith("worse") and OWN in line for line in told)


@pytest.mark.parametrize("number", range(10))
def test_noise_alone_is_not_taken_for_one(number: int):
    assert main(["bench", str(FOLDER / f"same-{number}.jsonl"), "--compare", BEFORE]) == 0


def test_the_records_are_of_one_machine_and_of_one_commit():
    runs = [read_record(path).run for path in sorted(FOLDER.glob("*.jsonl"))]
    assert len(runs) == 21
    assert len({(run.processor, run.threads, run.commit) for run in runs}) == 1
