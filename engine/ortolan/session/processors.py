"""What the processors of this machine can do, and how many of them this process may use."""

from __future__ import annotations

import functools
import math
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

INT8_FEATURES = {
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX-VNNI",
    "avx_vnni_int8": "AVX-VNNI-INT8",
    "asimddp": "Arm dot product",
    "i8mm": "Arm int8 matrix multiply",
}
"""Instruction sets that multiply 8-bit integers without overflow, as Linux and Ortolan's manifests name them."""

_RECORDED = (*INT8_FEATURES, "avx2", "avx512f", "avx512_bf16", "amx_int8", "bf16", "sve")


@functools.cache
def cpu_features() -> frozenset[str]:
    """Instruction sets of this machine that matter to the graphs, by Linux's names; empty if they can't be read."""
    system = platform.system()
    if system == "Linux":
        return parse_cpuinfo(_read(Path("/proc/cpuinfo")))
    if system == "Darwin" and platform.machine() == "arm64":
        answer = subprocess.run(["sysctl", "-a", "hw.optional.arm"], capture_output=True, text=True, check=False)
        lines = answer.stdout.splitlines()
        names = {"hw.optional.arm.FEAT_DotProd: 1": "asimddp", "hw.optional.arm.FEAT_I8MM: 1": "i8mm"}
        return frozenset(names[line.strip()] for line in lines if line.strip() in names)
    return frozenset()


def parse_cpuinfo(text: str) -> frozenset[str]:
    """Pick the instruction sets that matter out of the text of /proc/cpuinfo (x86 "flags", Arm "Features")."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split()) & frozenset(_RECORDED)
    return frozenset()


def int8_reason(features: Iterable[str]) -> tuple[bool, str]:
    """Say whether int8 is exact and quick on a CPU with these features, and why."""
    names = [label for feature, label in INT8_FEATURES.items() if feature in set(features)]
    if names:
        return True, f"the CPU has {names[0]}"
    return False, "the CPU is not known to have VNNI, AVX-VNNI or Arm dot products, without which int8 can saturate"


def usable_threads() -> int:
    """Threads that one run should use here.

    The smallest of the cores in the affinity mask (hyper-threads of one core count once: a matrix product fills a
    core) and the CPU quota of the cgroup, rounded up; at least 1.
    """
    mask = _affinity()
    cores = len({_core_of(cpu) for cpu in mask})
    quota = cgroup_quota(Path("/sys/fs/cgroup"), _read(Path("/proc/self/cgroup")))
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def cgroup_quota(root: Path, membership: str) -> float | None:
    """CPUs that the control groups of this process allow, the tightest of a group and its parents.

    Args:
        root: Where the control groups are mounted.
        membership: Text of /proc/self/cgroup.

    Returns:
        CPUs, such as 1.5; None where there is no limit.
    """
    quotas = []
    for line in membership.splitlines():
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        base = root / "cpu" if "cpu" in controllers.split(",") else root
        folder = base / group.strip("/")
        for level in (folder, *folder.parents):
            if level == root.parent:
                break
            quotas += [_quota_v2(_read(level / "cpu.max"))]
            quotas += [_quota_v1(_read(level / "cpu.cfs_quota_us"), _read(level / "cpu.cfs_period_us"))]
    found = [quota for quota in quotas if quota is not None]
    return min(found, default=None)


def _quota_v2(text: str) -> float | None:
    quota, _, period = text.strip().partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _quota_v1(quota: str, period: str) -> float | None:
    quota, period = quota.strip(), period.strip()  # -1 stands for no limit
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _core_of(cpu: int) -> str:
    # not core_id, which repeats in each die or cluster of a package
    return _read(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")).strip() or str(cpu)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
