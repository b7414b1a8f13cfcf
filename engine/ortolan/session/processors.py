"""What the processors of this machine can do, and how many of them this process may use."""

from __future__ import annotations

import functools
import math
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ortolan.session.control_groups import ROOT, levels, own_groups, read
from ortolan.session.runtime import onnxruntime

INT8_FEATURES = {
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX-VNNI",
    "asimddp": "Arm dot product",
    "i8mm": "Arm int8 matrix multiply",
}
"""Instruction sets with which uint8 times int8 is quick, as Linux and Ortolan's manifests name them."""

_RECORDED = (*INT8_FEATURES, "avx_vnni_int8", "avx2", "avx512f", "avx512_bf16", "amx_int8", "bf16", "sve")

_PRODUCT = (
    b"\x08\x05"  # IR version 5
    b':>\n\x18\n\x01a\n\x01b\x12\x01y"\rMatMulInteger\x12\x01p'  # graph p: y = MatMulInteger(a, b)
    b"Z\t\n\x01a\x12\x04\n\x02\x08\x02"  # input a: uint8
    b"Z\t\n\x01b\x12\x04\n\x02\x08\x03"  # input b: int8
    b"b\t\n\x01y\x12\x04\n\x02\x08\x06"  # output y: int32
    b"B\x04\n\x00\x10\n"  # operator set 10
)
"""An ONNX model of one product, written out because the runtime has no library to write one with."""


@functools.cache
def cpu_features() -> frozenset[str]:
    """Instruction sets of this machine that matter to the graphs, by Linux's names; empty if they can't be read."""
    system = platform.system()
    if system == "Linux":
        return parse_cpuinfo(read(Path("/proc/cpuinfo")))
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


@functools.cache
def int8_saturates() -> bool:
    """Whether ONNX Runtime's products of uint8 and int8 overflow on this CPU, unless it is told to avoid that.

    On x86 with AVX2 and without VNNI they add two products in 16 bits and cut off what does not fit. The largest
    numbers there are show it, in less than a millisecond. A list of features would not: an emulator may show those of
    the machine below it, and some systems show none.
    """
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(_PRODUCT, options, providers=["CPUExecutionProvider"])
    a, b = np.full((2, 4), 255, np.uint8), np.full((4, 2), 127, np.int8)
    [product] = session.run(None, {"a": a, "b": b})
    return not np.array_equal(product, a.astype(np.int32) @ b.astype(np.int32))


def int8_reason(features: Iterable[str], *, saturates: bool = False) -> tuple[bool, str]:
    """Say whether int8 is quick on a CPU, and why. It is exact on all of them: `session_options` sees to that.

    Args:
        features: Its instruction sets, as `cpu_features` names them.
        saturates: What `int8_saturates` says of it; goes before the features, which may be another machine's.
    """
    if saturates:
        return (
            False,
            "the CPU is without VNNI, where int8 takes ONNX Runtime's slower, saturation-safe kernels",
        )
    names = [label for feature, label in INT8_FEATURES.items() if feature in set(features)]
    if names:
        return True, f"the CPU has {names[0]}"
    return False, "the CPU is not known to have VNNI or Arm dot products, without which int8 may be slow"


def usable_threads() -> int:
    """Threads that one run should use here.

    The smallest of the cores in the affinity mask (hyper-threads of one core count once: a matrix product fills a
    core) and the CPU quota of the cgroup, rounded up; at least 1.
    """
    mask = _affinity()
    cores = len({_core_of(cpu) for cpu in mask})
    quota = cgroup_quota(ROOT, own_groups())
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
    for level in levels(root, membership, "cpu"):
        quotas += [_quota_v2(read(level / "cpu.max"))]
        quotas += [_quota_v1(read(level / "cpu.cfs_quota_us"), read(level / "cpu.cfs_period_us"))]
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
    return read(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")).strip() or str(cpu)
