"""How much main memory this process may use."""

from __future__ import annotations

import os
from pathlib import Path

from ortolan.session.control_groups import ROOT, levels, own_groups, read

UNKNOWN = 4 << 30
"""What a machine is taken to have that does not tell."""


def usable_bytes() -> int:
    """Bytes of main memory that this process may use.

    The smallest of what the machine has and what the control groups of the process allow, used or not.
    """
    limit = cgroup_limit(ROOT, own_groups())
    return _physical() if limit is None else min(limit, _physical())


def cgroup_limit(root: Path, membership: str) -> int | None:
    """Bytes that the control groups of this process allow, the tightest of a group and its parents.

    Args:
        root: Where the control groups are mounted.
        membership: Text of /proc/self/cgroup.

    Returns:
        Bytes; None where there is no limit.
    """
    limits = [
        read(level / name).strip()
        for level in levels(root, membership, "memory")
        for name in ("memory.max", "memory.limit_in_bytes")
    ]
    return min((int(limit) for limit in limits if limit.isdigit()), default=None)


def _physical() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return UNKNOWN
