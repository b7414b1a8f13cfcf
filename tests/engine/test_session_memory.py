"""How much memory this process may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from ortolan.session import memory
from ortolan.session.memory import UNKNOWN, cgroup_limit, usable_bytes


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "membership", "expected"),
    [
        ({}, "0::/\n", None),
        ({"memory.max": "max\n"}, "0::/\n", None),
        ({"memory.max": "1000\n"}, "0::/\n", 1000),
        ({"a/b/memory.max": "max\n", "a/memory.max": "500\n", "memory.max": "900\n"}, "0::/a/b\n", 500),
        ({"memory/x/memory.limit_in_bytes": "700\n"}, "4:memory:/x\n0::/\n", 700),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, "4:memory:/\n", 9223372036854771712),
    ],
    ids=["no files", "no limit", "limit", "tightest of the parents", "version 1", "version 1 without limit"],
)
def test_limit_is_the_tightest_of_the_groups(
    tmp_path: Path, files: dict[str, str], membership: str, expected: int | None
) -> None:
    assert cgroup_limit(write(tmp_path, files), membership) == expected


def test_memory_is_that_of_the_machine_unless_a_group_has_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_physical", lambda: 1000)
    for limit, expected in ((None, 1000), (400, 400), (1 << 62, 1000)):
        monkeypatch.setattr(memory, "cgroup_limit", lambda root, membership, limit=limit: limit)
        assert usable_bytes() == expected


def test_machine_that_does_not_tell_is_taken_for_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(name: str) -> int:
        raise ValueError(f"unrecognized configuration name {name}")

    monkeypatch.setattr(memory.os, "sysconf", silent)
    monkeypatch.setattr(memory, "cgroup_limit", lambda root, membership: None)
    assert usable_bytes() == UNKNOWN
