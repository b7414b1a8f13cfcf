from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from ortolan.session import processors
from ortolan.session.processors import (
    cgroup_quota,
    cpu_features,
    int8_reason,
    int8_saturates,
    parse_cpuinfo,
    usable_threads,
)

X86 = """\
processor\t: 0
vendor_id\t: GenuineIntel
flags\t\t: fpu vme sse4_2 avx2 avx512f avx512_vnni amx_int8
bugs\t\t: spectre_v1

processor\t: 1
flags\t\t: fpu
"""
ARM = """\
processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd asimddp sve i8mm bf16
CPU implementer\t: 0x41
"""


def test_x86_flags_are_read():
    assert parse_cpuinfo(X86) == {"avx2", "avx512f", "avx512_vnni", "amx_int8"}


def test_arm_features_are_read():
    assert parse_cpuinfo(ARM) == {"asimddp", "sve", "i8mm", "bf16"}


@pytest.mark.parametrize("text", ["", "processor: 0\n", "flags\n"], ids=["empty", "no-flags", "flags-without-value"])
def test_a_text_without_features_gives_none(text: str):
    assert parse_cpuinfo(text) == frozenset()


@pytest.mark.parametrize(
    ("feature", "reason"),
    [
        ("avx512_vnni", "the CPU has AVX-512 VNNI"),
        ("avx_vnni", "the CPU has AVX-VNNI"),
        ("asimddp", "the CPU has Arm dot product"),
        ("i8mm", "the CPU has Arm int8 matrix multiply"),
    ],
)
def test_int8_is_quick_with_an_instruction_for_it(feature: str, reason: str):
    assert int8_reason({"avx2", feature}, saturates=False) == (True, reason)


@pytest.mark.parametrize(
    "features",
    [set(), {"avx2"}, {"avx2", "avx_vnni_int8"}],
    # the last has no product of uint8 and int8 for ONNX Runtime; every CPU that has it has AVX-VNNI too
    ids=["unknown", "avx2-alone", "vnni-of-equal-signs-alone"],
)
def test_int8_is_not_preferred_without_such_an_instruction(features: set[str]):
    assert int8_reason(features, saturates=False) == (
        False,
        "the CPU is not known to have VNNI or Arm dot products, without which int8 may be slow",
    )


@pytest.mark.parametrize("features", [{"avx2"}, {"asimddp", "i8mm"}], ids=["its-own", "those-of-an-arm-host"])
def test_a_cpu_that_was_seen_to_saturate_is_believed_before_its_features(features: set[str]):
    assert int8_reason(features, saturates=True) == (
        False,
        "the CPU is without VNNI, where int8 takes ONNX Runtime's slower, saturation-safe kernels",
    )


class FakeOnnxRuntime:
    """An ONNX Runtime whose products of uint8 and int8 are the given number, whatever is multiplied."""

    def __init__(self, product: int) -> None:
        self._product = product

    def __call__(self) -> FakeOnnxRuntime:
        return self

    def SessionOptions(self) -> SimpleNamespace:  # noqa: N802  # ONNX Runtime's name
        return SimpleNamespace()

    def InferenceSession(self, *_: object, **__: object) -> FakeOnnxRuntime:  # noqa: N802  # as above
        return self

    def run(self, *_: object) -> list[NDArray[np.int32]]:
        return [np.full((2, 2), self._product, np.int32)]


@pytest.mark.parametrize(
    ("product", "saturates"),
    [(4 * 255 * 127, False), (2 * 32767, True)],
    ids=["sum-in-32-bits", "pairs-cut-off-at-16-bits"],
)
def test_saturation_is_seen_in_a_product(monkeypatch: pytest.MonkeyPatch, product: int, saturates: bool):
    monkeypatch.setattr(processors, "onnxruntime", FakeOnnxRuntime(product))
    assert int8_saturates.__wrapped__() is saturates


def test_nothing_saturates_on_this_machine_if_it_has_vnni():
    if not {"avx512_vnni", "avx_vnni"} & cpu_features():
        pytest.skip("it has not")
    assert int8_saturates() is False


def test_apple_processors_are_asked_through_sysctl(monkeypatch: pytest.MonkeyPatch):
    answer = "hw.optional.arm.FEAT_DotProd: 1\nhw.optional.arm.FEAT_I8MM: 0\nhw.optional.arm.FEAT_BF16: 1\n"
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, stdout=answer))
    assert cpu_features.__wrapped__() == {"asimddp"}


def test_nothing_is_claimed_of_an_unknown_system(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(platform, "system", lambda: "Plan9")
    assert cpu_features.__wrapped__() == frozenset()


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.parametrize(
    ("files", "membership", "cpus"),
    [
        pytest.param({}, "", None, id="no-control-groups"),
        pytest.param({}, "0::/app\n", None, id="group-without-files"),
        pytest.param({"cpu.max": "200000 100000\n"}, "0::/\n", 2.0, id="v2-root"),
        pytest.param({"app/cpu.max": "150000 100000\n"}, "0::/app\n", 1.5, id="v2-own-group"),
        pytest.param({"app/cpu.max": "max 100000\n"}, "0::/app\n", None, id="v2-max"),
        pytest.param(
            {"a/cpu.max": "150000 100000\n", "a/b/cpu.max": "400000 100000\n", "a/b/c/cpu.max": "max 100000\n"},
            "0::/a/b/c\n",
            1.5,
            id="v2-tightest-parent",
        ),
        pytest.param(
            {"a/cpu.max": "400000 100000\n", "other/cpu.max": "100000 100000\n"}, "0::/a\n", 4.0, id="v2-not-a-sibling"
        ),
        pytest.param(
            {"cpu/app/cpu.cfs_quota_us": "-1\n", "cpu/app/cpu.cfs_period_us": "100000\n"},
            "5:memory:/app\n4:cpu,cpuacct:/app\n",
            None,
            id="v1-no-quota",
        ),
        pytest.param(
            {"cpu/app/cpu.cfs_quota_us": "250000\n", "cpu/app/cpu.cfs_period_us": "100000\n"},
            "5:memory:/app\n4:cpu,cpuacct:/app\n",
            2.5,
            id="v1-quota",
        ),
        pytest.param(
            {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            "4:cpu,cpuacct:/seen/from/outside\n",
            0.5,
            id="v1-container-that-sees-only-its-own-group",
        ),
        pytest.param({"cpu.max": "rubbish\n"}, "0::/\n", None, id="rubbish"),
    ],
)
def test_the_quota_of_control_groups_is(tmp_path: Path, files: dict[str, str], membership: str, cpus: float | None):
    assert cgroup_quota(write(tmp_path / "cgroup", files), membership) == cpus


def test_nothing_above_the_mount_point_is_read(tmp_path: Path):
    write(tmp_path, {"cpu.max": "100000 100000\n", "cgroup/app/cpu.max": "max 100000\n"})
    assert cgroup_quota(tmp_path / "cgroup", "0::/app\n") is None


@pytest.mark.parametrize(
    ("quota", "threads"),
    [(None, 2), (0.5, 1), (1.0, 1), (1.5, 2), (64.0, 2)],
    ids=["none", "half-a-cpu", "one", "rounded-up", "more-than-cores"],
)
def test_threads_are_the_smaller_of_cores_and_quota(monkeypatch: pytest.MonkeyPatch, quota: float | None, threads: int):
    # four hyper-threads on two cores
    monkeypatch.setattr(processors, "_affinity", lambda: {0, 1, 2, 3})
    monkeypatch.setattr(processors, "_core_of", lambda cpu: ("0", str(cpu % 2)))
    monkeypatch.setattr(processors, "cgroup_quota", lambda *_: quota)
    assert usable_threads() == threads


def test_this_machine_has_at_least_one_usable_thread():
    assert usable_threads() >= 1
