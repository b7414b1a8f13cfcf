"""The table of execution providers: one row each, with everything that differs between them."""

from __future__ import annotations

import contextlib
import ctypes
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ortolan.config import Precision, SessionConfig
from ortolan.errors import ConfigError, ProviderError
from ortolan.session.processors import cpu_features, int8_reason, int8_saturates, usable_threads
from ortolan.session.runtime import onnxruntime

Options = dict[str, str]


@dataclass(frozen=True, slots=True)
class Option:
    """Something that a user may set on a provider.

    Attributes:
        name: What a user writes.
        allowed: The values that make sense, in words.
        is_allowed: Whether a value is one of them.
    """

    name: str
    allowed: str
    is_allowed: Callable[[object], bool]


def _is_from_one_on(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


CUDA_GRAPHS = Option("cuda_graphs", "True or False", lambda value: isinstance(value, bool))
STREAM = Option("stream", "the address of a CUDA stream, a whole number from 1 on", _is_from_one_on)
ARENA_BYTES = Option("arena_bytes", "a number of bytes from 1 on", _is_from_one_on)


@dataclass(frozen=True, slots=True)
class Provider:
    """One execution provider.

    Attributes:
        name: What a user writes.
        ort_name: What ONNX Runtime calls it.
        extra: The extra of this project that installs it, or the package where no extra does; empty where every
            build for the one system that has it holds it.
        options: Builds its options, as ONNX Runtime wants them: strings. For `build_options`, which checks first.
        accepts: What `provider_options` may hold.
        library: File of its shared library, to learn why it does not load; empty where it is built in.
        needs_cuda: Whether it needs CUDA's libraries.
        is_automatic: Whether "auto" may choose it.
        on_cpu: Whether it runs on the CPU, where the instruction sets decide between int8 and fp32.
        shares_weights: Whether several sessions of a graph can share one copy of its weights (session/shared.py).
        bound_device: Where its inputs and outputs are kept between runs (session/binding.py); empty for plain runs.
        precisions: What it has kernels for, in the order in which "auto" prefers them. On a CPU without int8
            multiplication fp32 goes before the int8 ones.
    """

    name: str
    ort_name: str
    extra: str
    options: Callable[[SessionConfig], Options]
    accepts: tuple[Option, ...] = ()
    library: str = ""
    needs_cuda: bool = False
    is_automatic: bool = False
    on_cpu: bool = False
    shares_weights: bool = False
    bound_device: str = ""
    precisions: tuple[Precision, ...] = ("fp32",)


def _cpu(_: SessionConfig) -> Options:
    return {}


def _cuda(config: SessionConfig) -> Options:
    options = {
        "device_id": str(config.device_id),
        "cudnn_conv_algo_search": "HEURISTIC",
        "do_copy_in_default_stream": "1",
        "use_tf32": "0",  # TF32 keeps 10 bits of the mantissa; the parity in the manifest was measured with 23
    }
    asked = config.provider_options
    if asked.get(CUDA_GRAPHS.name):
        options["enable_cuda_graph"] = "1"
    if STREAM.name in asked:
        options["user_compute_stream"] = str(asked[STREAM.name])
    if ARENA_BYTES.name in asked:
        options["gpu_mem_limit"] = str(asked[ARENA_BYTES.name])
    return options


def _tensorrt(config: SessionConfig) -> Options:
    options = {
        "device_id": str(config.device_id),
        "trt_max_workspace_size": str(config.provider_options.get(ARENA_BYTES.name, 2 << 30)),
        "trt_builder_optimization_level": "3",
    }
    if STREAM.name in config.provider_options:
        options["user_compute_stream"] = str(config.provider_options[STREAM.name])
    if config.cache_dir is not None:  # building an engine takes minutes; a cache makes that once a machine
        folder = str(config.cache_dir / "tensorrt")
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": folder,
        }
    return options


def _openvino(config: SessionConfig) -> Options:
    options = {"device_type": "CPU", "num_of_threads": str(config.num_threads or usable_threads())}
    if config.cache_dir is not None:
        options["cache_dir"] = str(config.cache_dir / "openvino")
    return options


def _dml(config: SessionConfig) -> Options:
    return {"device_id": str(config.device_id)}


def _coreml(config: SessionConfig) -> Options:
    options = {"ModelFormat": "MLProgram", "MLComputeUnits": "ALL", "RequireStaticInputShapes": "0"}
    if config.cache_dir is not None:
        options["ModelCacheDirectory"] = str(config.cache_dir / "coreml")
    return options


PROVIDERS = {
    row.name: row
    for row in (
        # in the order in which "auto" tries them
        Provider(
            "cuda",
            "CUDAExecutionProvider",
            "gpu",
            _cuda,
            accepts=(CUDA_GRAPHS, STREAM, ARENA_BYTES),
            library="libonnxruntime_providers_cuda.so",
            needs_cuda=True,
            is_automatic=True,
            bound_device="cuda",
            precisions=("fp16", "fp32", "int4"),
        ),
        # not automatic: it builds an engine for minutes at first use
        Provider(
            "tensorrt",
            "TensorrtExecutionProvider",
            "gpu",
            _tensorrt,
            accepts=(STREAM, ARENA_BYTES),
            library="libonnxruntime_providers_tensorrt.so",
            needs_cuda=True,
            bound_device="cuda",
            precisions=("fp16", "fp32", "int8-static"),
        ),
        Provider(
            "dml",
            "DmlExecutionProvider",
            "onnxruntime-directml",
            _dml,
            is_automatic=True,
            precisions=("fp16", "fp32"),
        ),
        Provider(
            "openvino",
            "OpenVINOExecutionProvider",
            "openvino",
            _openvino,
            library="libonnxruntime_providers_openvino.so",
            is_automatic=True,
            on_cpu=True,
            precisions=("int8", "int8-static", "fp32", "fp16"),
        ),
        # not automatic: it takes a graph in pieces, and pieces of a small encoder are slower than the CPU alone
        Provider("coreml", "CoreMLExecutionProvider", "", _coreml, precisions=("fp32", "fp16")),
        Provider(
            "cpu",
            "CPUExecutionProvider",
            "cpu",
            _cpu,
            is_automatic=True,
            on_cpu=True,
            shares_weights=True,
            precisions=("int8", "int8-static", "fp32", "int4"),
        ),
    )
}


def provider_named(name: str) -> Provider:
    """Find a row of the table.

    Raises:
        ConfigError: No provider of that name.
    """
    if name not in PROVIDERS:
        raise ConfigError(f"provider {name!r} requested", "no such provider", f"use auto, {', '.join(PROVIDERS)}")
    return PROVIDERS[name]


def candidates(name: str) -> list[Provider]:
    """Providers to try for a name, best first: one for an explicit name, those of this build for "auto".

    Raises:
        ConfigError: No provider of that name.
        ProviderError: The provider is not part of the installed ONNX Runtime.
    """
    available = onnxruntime().get_available_providers()
    if name == "auto":
        return [row for row in PROVIDERS.values() if row.is_automatic and row.ort_name in available]
    row = provider_named(name)
    if row.ort_name not in available:
        raise ProviderError(f"provider '{row.ort_name}' requested", f"available: {available}", _how_to_get(row))
    return [row]


def _how_to_get(provider: Provider) -> str:
    if not provider.extra:
        return "choose 'cpu': only onnxruntime for macOS has it"
    package = provider.extra if "-" in provider.extra else f"'ortolan[{provider.extra}]'"
    return f"run: pip install {package} in an environment of its own, or choose 'cpu'"


def load_fault(provider: Provider) -> str | None:
    """Say why the shared library of a provider does not load; None if it does, or if it has none of its own.

    ONNX Runtime writes this reason to its log alone and goes on with the CPU. Can go when it raises.
    """
    ort = onnxruntime()
    path = Path(ort.__file__).parent / "capi" / provider.library
    if not provider.library or not path.is_file():
        return None
    if provider.needs_cuda and hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find; so do we, below
            ort.preload_dlls()  # finds the CUDA libraries that pip installed
    try:
        ctypes.CDLL(str(path.with_name("libonnxruntime_providers_shared.so")), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(path))
    except OSError as error:
        return str(error)
    return None


def choose_precision(provider: Provider, available: tuple[Precision, ...]) -> tuple[Precision, str]:
    """Choose the precision for `precision="auto"`.

    Args:
        provider: Where the graph will run.
        available: Precisions that the artifact holds, at least one.

    Returns:
        The precision and the reason, fit to be shown.

    Raises:
        ConfigError: The provider runs none of them.
    """
    order, why = provider.precisions, f"{provider.name} runs it best of what the artifact holds"
    if provider.on_cpu:
        fine, why = int8_reason(cpu_features(), saturates=int8_saturates())
        if not fine:
            order = tuple(sorted(order, key=lambda precision: precision.startswith("int8")))
    found = [precision for precision in order if precision in available]
    if not found:
        raise ConfigError(
            f"a precision for provider '{provider.name}' requested",
            f"the artifact holds {', '.join(available)} and it runs {', '.join(order)}",
            f"export it with --precision {order[0]}, or choose another provider",
        )
    if found[0] != order[0]:
        why = f"the artifact holds only {', '.join(available)}"
    return found[0], why


def asked_for(provider: Provider, precision: Precision) -> str:
    """Reason to show for a precision that a user asked for, with what is to be known of it on this CPU."""
    if provider.name == "cpu" and precision.startswith("int8"):
        fine, why = int8_reason(cpu_features(), saturates=int8_saturates())
        return "asked for" if fine else f"asked for; {why}"
    return "asked for"


def check_runs(provider: Provider, precision: Precision) -> None:
    """Refuse a precision that a provider has no kernels for: ONNX Runtime would run it elsewhere, and say nothing.

    Raises:
        ConfigError: It has none.
    """
    if precision not in provider.precisions:
        others = [row.name for row in PROVIDERS.values() if precision in row.precisions]
        raise ConfigError(
            f"precision '{precision}' on provider '{provider.name}' requested",
            f"it runs {', '.join(provider.precisions)}",
            f"choose one of those, or provider {', '.join(others)}",
        )


def check_options(provider: Provider, config: SessionConfig) -> None:
    """Refuse options that a provider does not take, and values that make no sense, all of them at once.

    Raises:
        ConfigError: There are some.
    """
    known = {option.name: option for option in provider.accepts}
    faults = []
    for name, value in config.provider_options.items():
        if name not in known:
            faults.append(f"there is no {name!r}")
        elif not known[name].is_allowed(value):
            faults.append(f"{name} is {value!r}")
    if faults:
        takes = ", ".join(f"{option.name} ({option.allowed})" for option in provider.accepts)
        raise ConfigError(
            f"provider_options for '{provider.name}' requested",
            ", ".join(faults),
            f"it takes {takes}" if takes else "it takes none: leave them out",
        )


def build_options(provider: Provider, config: SessionConfig) -> Options:
    """Build the options of a provider, as ONNX Runtime wants them.

    Raises:
        ConfigError: It does not take one of `provider_options`.
    """
    check_options(provider, config)
    return provider.options(config)


def session_options(config: SessionConfig) -> Any:
    """Build ONNX Runtime's session options, which are the same for all providers."""
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 3  # warnings about graph rewrites help nobody; failures arrive as exceptions
    options.intra_op_num_threads = config.num_threads or usable_threads()
    options.inter_op_num_threads = 1
    # threads that go on waiting at full speed after a run, 41 ms by default, take the cores from whatever comes next:
    # another session's run, or the Python between two runs (docs/decisions/0013-the-engine.md)
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if int8_saturates():  # not elsewhere: ONNX Runtime would give up VNNI for it (docs/decisions/0009)
        options.add_session_config_entry("session.x64quantprecision", "1")
    if config.profile_to is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(config.profile_to)
    options.enable_mem_pattern = False  # one is kept for each shape, and buys nothing (docs/decisions/0012)
    return options
