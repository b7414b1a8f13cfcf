from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import pytest

from ortolan import ConfigError, ProviderError
from ortolan.config import Precision, SessionConfig
from ortolan.session import providers
from ortolan.session.processors import usable_threads
from ortolan.session.providers import (
    PROVIDERS,
    asked_for,
    build_options,
    candidates,
    check_options,
    choose_precision,
    load_fault,
    provider_named,
    session_options,
)
from tests.engine.fakes import FakeOnnxRuntime

CACHE = Path("/cache")
PLAIN = {
    "cpu": {},
    "cuda": {
        "device_id": "1",
        "cudnn_conv_algo_search": "HEURISTIC",
        "do_copy_in_default_stream": "1",
        "use_tf32": "0",
    },
    "tensorrt": {
        "device_id": "1",
        "trt_max_workspace_size": "2147483648",
        "trt_builder_optimization_level": "3",
    },
    "openvino": {"device_type": "CPU", "num_of_threads": "3"},
    "dml": {"device_id": "1"},
    "coreml": {"ModelFormat": "MLProgram", "MLComputeUnits": "ALL", "RequireStaticInputShapes": "0"},
}
ADDED_BY_A_CACHE = {
    "cpu": {},
    "cuda": {},
    "tensorrt": {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(CACHE / "tensorrt"),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(CACHE / "tensorrt"),
    },
    "openvino": {"cache_dir": str(CACHE / "openvino")},
    "dml": {},
    "coreml": {"ModelCacheDirectory": str(CACHE / "coreml")},
}


def use(monkeypatch: pytest.MonkeyPatch, runtime: FakeOnnxRuntime) -> None:
    monkeypatch.setattr(providers, "onnxruntime", lambda: runtime)


def test_every_provider_of_the_table_is_tested_here():
    assert set(PROVIDERS) == set(PLAIN) == set(ADDED_BY_A_CACHE)


@pytest.mark.parametrize("name", PROVIDERS)
def test_options_without_a_cache_are(name: str):
    config = SessionConfig(device_id=1, num_threads=3)
    assert PROVIDERS[name].options(config) == PLAIN[name]


@pytest.mark.parametrize("name", PROVIDERS)
def test_options_with_a_cache_are(name: str):
    config = SessionConfig(device_id=1, num_threads=3, cache_dir=CACHE)
    assert PROVIDERS[name].options(config) == PLAIN[name] | ADDED_BY_A_CACHE[name]


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_option_is_a_string(name: str):
    options = PROVIDERS[name].options(SessionConfig(device_id=2, cache_dir=CACHE))
    assert {type(part) for pair in options.items() for part in pair} <= {str}


def test_openvino_takes_the_usable_threads_by_default():
    assert PROVIDERS["openvino"].options(SessionConfig())["num_of_threads"] == str(usable_threads())


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_is_found_by_its_name(name: str):
    assert provider_named(name).name == name


def test_an_unknown_provider_names_the_known():
    with pytest.raises(ConfigError) as caught:
        provider_named("tpu")
    assert str(caught.value) == (
        "provider 'tpu' requested, no such provider; use auto, cuda, tensorrt, dml, openvino, coreml, cpu"
    )


@pytest.mark.parametrize(
    ("name", "ort_name", "command"),
    [
        ("cuda", "CUDAExecutionProvider", "pip install 'ortolan[gpu]'"),
        ("tensorrt", "TensorrtExecutionProvider", "pip install 'ortolan[gpu]'"),
        ("openvino", "OpenVINOExecutionProvider", "pip install 'ortolan[openvino]'"),
        ("dml", "DmlExecutionProvider", "pip install onnxruntime-directml"),
    ],
)
def test_a_provider_that_this_build_lacks_says_what_there_is_and_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, name: str, ort_name: str, command: str
):
    use(monkeypatch, FakeOnnxRuntime("CPUExecutionProvider"))
    with pytest.raises(ProviderError) as caught:
        candidates(name)
    assert str(caught.value) == (
        f"provider '{ort_name}' requested, available: ['CPUExecutionProvider']; "
        f"run: {command} in an environment of its own, or choose 'cpu'"
    )


def test_coreml_off_macos_is_not_said_to_come_with_the_cpu_build(monkeypatch: pytest.MonkeyPatch):
    use(monkeypatch, FakeOnnxRuntime("CPUExecutionProvider"))
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(ProviderError) as caught:
        candidates("coreml")
    assert "pip install 'ortolan[cpu]'" not in caught.value.remedy


def test_a_named_provider_is_the_only_candidate(monkeypatch: pytest.MonkeyPatch):
    use(monkeypatch, FakeOnnxRuntime("CUDAExecutionProvider", "CPUExecutionProvider"))
    assert [row.name for row in candidates("cuda")] == ["cuda"]


@pytest.mark.parametrize(
    ("available", "names"),
    [
        (["AzureExecutionProvider", "CPUExecutionProvider"], ["cpu"]),
        (["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"], ["cuda", "cpu"]),
        (["OpenVINOExecutionProvider", "CPUExecutionProvider"], ["openvino", "cpu"]),
        (["DmlExecutionProvider", "CPUExecutionProvider"], ["dml", "cpu"]),
        (["CoreMLExecutionProvider", "CPUExecutionProvider"], ["cpu"]),
    ],
    ids=["cpu-wheel", "gpu-wheel", "openvino-wheel", "directml-wheel", "macos-wheel"],
)
def test_auto_tries_what_the_build_has_and_the_cpu_last(
    monkeypatch: pytest.MonkeyPatch, available: list[str], names: list[str]
):
    use(monkeypatch, FakeOnnxRuntime(*available))
    assert [row.name for row in candidates("auto")] == names


@pytest.mark.parametrize(
    ("provider", "features", "available", "chosen"),
    [
        pytest.param("cpu", {"avx512_vnni"}, ("fp32", "int8"), ("int8", "the CPU has AVX-512 VNNI"), id="vnni"),
        pytest.param(
            "cpu",
            {"avx2"},
            ("fp32", "int8"),
            ("fp32", "the CPU is not known to have VNNI or Arm dot products, without which int8 may be slow"),
            id="no-vnni",
        ),
        pytest.param(
            "openvino", {"avx_vnni"}, ("fp32", "int8"), ("int8", "the CPU has AVX-VNNI"), id="openvino-on-vnni"
        ),
        pytest.param(
            "cuda",
            {"avx512_vnni"},
            ("fp32", "int8"),
            ("fp32", "the artifact holds only fp32, int8"),
            id="gpu-beside-vnni",
        ),
        pytest.param(
            "cpu", {"avx512_vnni"}, ("fp32",), ("fp32", "the artifact holds only fp32"), id="only-fp32-on-vnni"
        ),
        pytest.param("cpu", {"avx2"}, ("int8",), ("int8", "the artifact holds only int8"), id="only-int8-without-vnni"),
        pytest.param(
            "cuda",
            set(),
            ("fp32", "int8", "fp16"),
            ("fp16", "cuda runs it best of what the artifact holds"),
            id="half-precision-on-gpu",
        ),
    ],
)
def test_the_precision_chosen_and_its_reason_are(
    monkeypatch: pytest.MonkeyPatch,
    provider: str,
    features: set[str],
    available: tuple[Precision, ...],
    chosen: tuple[str, str],
):
    monkeypatch.setattr(providers, "cpu_features", lambda: frozenset(features))
    monkeypatch.setattr(providers, "int8_saturates", lambda: False)
    assert choose_precision(PROVIDERS[provider], available) == chosen


@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_a_cpu_that_saturates_gets_fp32_whatever_its_features(monkeypatch: pytest.MonkeyPatch, provider: str):
    monkeypatch.setattr(providers, "cpu_features", lambda: frozenset({"avx512_vnni"}))
    monkeypatch.setattr(providers, "int8_saturates", lambda: True)
    precision, why = choose_precision(PROVIDERS[provider], ("fp32", "int8"))
    assert precision == "fp32"
    assert why.startswith("the CPU is without VNNI")


@pytest.mark.parametrize(
    ("provider", "precision", "saturates", "reason"),
    [
        ("cpu", "int8", False, "asked for"),
        ("cpu", "fp32", True, "asked for"),
        ("cuda", "fp16", True, "asked for"),
        (
            "cpu",
            "int8-static",
            True,
            "asked for; the CPU is without VNNI, where int8 takes ONNX Runtime's slower, saturation-safe kernels",
        ),
    ],
    ids=["int8-with-vnni", "fp32-without", "gpu", "int8-without"],
)
def test_a_precision_that_was_asked_for_says_what_it_costs_on_this_cpu(
    monkeypatch: pytest.MonkeyPatch, provider: str, precision: Precision, saturates: bool, reason: str
):
    monkeypatch.setattr(providers, "cpu_features", lambda: frozenset({"avx512_vnni"}))
    monkeypatch.setattr(providers, "int8_saturates", lambda: saturates)
    assert asked_for(PROVIDERS[provider], precision) == reason


@pytest.mark.parametrize(("saturates", "entries"), [(True, ["1"]), (False, [])], ids=["without-vnni", "with-vnni"])
def test_the_saturation_safe_kernels_are_asked_for_only_where_they_are_needed(
    monkeypatch: pytest.MonkeyPatch, saturates: bool, entries: list[str]
):
    monkeypatch.setattr(providers, "int8_saturates", lambda: saturates)
    options = session_options(SessionConfig())
    found = []
    with contextlib.suppress(RuntimeError):  # ONNX Runtime's answer where there is no such entry
        found.append(options.get_session_config_entry("session.x64quantprecision"))
    assert found == entries


def test_an_artifact_without_a_precision_for_the_provider_says_what_to_export():
    with pytest.raises(ConfigError) as caught:
        choose_precision(PROVIDERS["cuda"], ("int8",))
    assert str(caught.value) == (
        "a precision for provider 'cuda' requested, the artifact holds int8 and it runs fp16, fp32, int4; "
        "export it with --precision fp16, or choose another provider"
    )


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_whose_library_is_not_there_has_no_fault_to_tell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
):
    use(monkeypatch, FakeOnnxRuntime(folder=tmp_path))
    assert load_fault(PROVIDERS[name]) is None


@pytest.mark.parametrize("name", [row.name for row in PROVIDERS.values() if row.library])
def test_a_provider_whose_library_does_not_load_names_a_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
):
    use(monkeypatch, FakeOnnxRuntime(folder=tmp_path))
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / PROVIDERS[name].library).write_text("no library")
    assert "libonnxruntime_providers" in str(load_fault(PROVIDERS[name]))


def test_looking_for_cuda_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    class Talkative(FakeOnnxRuntime):
        def preload_dlls(self) -> None:
            print("failed to load libcublas")

    use(monkeypatch, Talkative(folder=tmp_path))
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / PROVIDERS["cuda"].library).write_text("no library")
    load_fault(PROVIDERS["cuda"])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("name", "needs_cuda"), [(name, name in ("cuda", "tensorrt")) for name in PROVIDERS])
def test_a_provider_of_nvidia_needs_cuda(name: str, needs_cuda: bool):
    assert PROVIDERS[name].needs_cuda is needs_cuda


def test_session_options_carry_the_threads_asked_for():
    assert session_options(SessionConfig(num_threads=3)).intra_op_num_threads == 3


def test_session_options_take_the_usable_threads_by_default():
    assert session_options(SessionConfig()).intra_op_num_threads == usable_threads()


def test_no_memory_pattern_is_kept_for_each_shape():
    assert not session_options(SessionConfig()).enable_mem_pattern


# Options of a row


def config_of(provider: str, **options: Any) -> SessionConfig:
    return SessionConfig(provider=provider, provider_options=options)


@pytest.mark.parametrize(
    ("provider", "option", "value", "added"),
    [
        ("cuda", "cuda_graphs", True, {"enable_cuda_graph": "1"}),
        ("cuda", "cuda_graphs", False, {}),
        ("cuda", "stream", 140_000, {"user_compute_stream": "140000"}),
        ("cuda", "arena_bytes", 1 << 30, {"gpu_mem_limit": "1073741824"}),
        ("tensorrt", "stream", 140_000, {"user_compute_stream": "140000"}),
        ("tensorrt", "arena_bytes", 1 << 30, {"trt_max_workspace_size": "1073741824"}),
    ],
)
def test_an_option_of_a_row_becomes_one_of_onnx_runtime(provider: str, option: str, value: Any, added: dict[str, str]):
    row = PROVIDERS[provider]
    assert build_options(row, config_of(provider, **{option: value})) == row.options(config_of(provider)) | added


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("cuda_graphs", value) for value in (1, "1", None)],
        *[("stream", value) for value in (0, -1, "140000", True)],
        *[("arena_bytes", value) for value in (0, -1, 1.5, "1GB", True)],
    ],
)
def test_a_value_that_makes_no_sense_is_refused(option: str, value: Any):
    with pytest.raises(ConfigError, match=f"{option} is {value!r}; it takes cuda_graphs "):
        check_options(PROVIDERS["cuda"], config_of("cuda", **{option: value}))


def test_all_faults_are_told_at_once_with_what_is_allowed():
    with pytest.raises(ConfigError) as caught:
        check_options(PROVIDERS["cuda"], config_of("cuda", arena_byte=1, stream=0, cuda_graphs=True))
    assert str(caught.value) == (
        "provider_options for 'cuda' requested, there is no 'arena_byte', stream is 0; it takes cuda_graphs (True or "
        "False), stream (the address of a CUDA stream, a whole number from 1 on), arena_bytes (a number of bytes from "
        "1 on)"
    )


@pytest.mark.parametrize("name", [name for name, row in PROVIDERS.items() if not row.accepts])
def test_a_row_without_options_says_so(name: str):
    with pytest.raises(ConfigError, match="there is no 'arena_bytes'; it takes none: leave them out"):
        check_options(PROVIDERS[name], config_of(name, arena_bytes=1))


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_row_is_fine_without_options(name: str):
    check_options(PROVIDERS[name], config_of(name))


@pytest.mark.parametrize("name", PROVIDERS)
def test_inputs_and_outputs_are_bound_where_they_have_far_to_go(name: str):
    assert PROVIDERS[name].bound_device == ("cuda" if name in ("cuda", "tensorrt") else "")


@pytest.mark.parametrize("name", [row.name for row in PROVIDERS.values() if row.accepts])
def test_every_option_of_a_row_is_in_the_page_about_providers(name: str):
    page = (Path(__file__).parents[2] / "docs" / "providers.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` | `{option.name}` |" in page for option in PROVIDERS[name].accepts)
