from __future__ import annotations

import dataclasses

import pytest

from ortolan.machine import Machine, parse_processor, this_machine

ONE = Machine("AMD EPYC", ("avx2", "avx512_vnni"), 2, "Linux x86_64", "onnxruntime 1.32.0")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"processor": "Intel Xeon"}, id="processor"),
        pytest.param({"features": ("avx2",)}, id="features"),
        pytest.param({"num_threads": 4}, id="threads"),
        pytest.param({"system": "Linux aarch64"}, id="system"),
        pytest.param({"onnxruntime": "onnxruntime-gpu 1.32.0"}, id="runtime"),
    ],
)
def test_another_machine_has_another_key(change: dict[str, object]):
    assert dataclasses.replace(ONE, **change).key != ONE.key  # type: ignore[arg-type]  # each of its own type


def test_the_key_is_fit_for_a_file_name():
    assert (len(ONE.key), ONE.key.isalnum()) == (16, True)


def test_this_machine_has_the_same_key_twice():
    assert this_machine().key == this_machine().key


def test_this_machine_names_its_runtime():
    assert this_machine().onnxruntime.startswith("onnxruntime")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param("processor\t: 0\nmodel name\t: AMD EPYC 9654\n\nmodel name\t: other\n", "AMD EPYC 9654", id="x86"),
        pytest.param(
            "processor\t: 0\nCPU implementer\t: 0x41\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\n",
            "0x41 0xd0c 0x3",
            id="arm",
        ),
        pytest.param("", "", id="nothing"),
    ],
)
def test_the_processor_is_read_from_cpuinfo(text: str, name: str):
    assert parse_processor(text) == name
