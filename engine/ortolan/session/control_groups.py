"""The control groups that a process is in, and the files in which a system says what it allows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
"""Where Linux mounts the control groups."""


def own_groups() -> str:
    """Read which groups this process is in: the text of /proc/self/cgroup, empty where there are none."""
    return read(Path("/proc/self/cgroup"))


def levels(root: Path, membership: str, controller: str) -> Iterator[Path]:
    """Give the folders of a process's groups and of all their parents: the tightest limit of them holds.

    Args:
        root: Where the control groups are mounted.
        membership: Text of /proc/self/cgroup.
        controller: Such as "memory", which has a folder of its own in version 1.
    """
    for line in membership.splitlines():
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        base = root / controller if controller in controllers.split(",") else root
        folder = base / group.strip("/")
        for level in (folder, *folder.parents):
            if level == root.parent:
                break
            yield level


def read(path: Path) -> str:
    """Read a small file of the system; empty where it is not there, or not for this process."""
    try:
        return path.read_text()
    except OSError:
        return ""
