"""The `Session` protocol on ONNX Runtime."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ortolan.config import SessionConfig
from ortolan.errors import ProviderError, SessionError
from ortolan.session.base import DTYPES, Array, Bound, Signature, Stop, TensorSpec
from ortolan.session.binding import Binding, InPlace
from ortolan.session.providers import CUDA_GRAPHS, Provider, build_options, load_fault, session_options
from ortolan.session.runtime import onnxruntime

_PACKING = {
    "optimized_model_external_initializers_file_name": "{name}_data",
    "optimized_model_external_initializers_min_size_in_bytes": "1024",
    "save_external_prepacked_constant_initializers": "1",
}
"""What makes ONNX Runtime write weights as its kernels want them, so that a session that loads them keeps no copy."""

_loaded: weakref.WeakSet[OrtSession] = weakref.WeakSet()
"""The sessions of this process, for a child that is forked."""


def _keep_for_ever() -> None:
    """Let no session of the parent end in a forked child, such as when the child loads another in its place.

    ONNX Runtime would wait for threads that are not there.
    """
    for session in list(_loaded):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_for_ever)


class OrtSession:
    """A graph loaded by ONNX Runtime. May be run from several threads at once, in the process that loaded it."""

    def __init__(
        self,
        path: Path,
        provider: Provider,
        config: SessionConfig,
        disabled_optimizers: Sequence[str],
        *,
        pack_to: Path | None = None,
        is_packed: bool = False,
    ) -> None:
        """Load a graph.

        Args:
            path: The ONNX file.
            provider: Where it shall run; operators the provider lacks run on the CPU.
            config: Threads, device, cache, options of the provider.
            disabled_optimizers: ONNX Runtime's graph rewrites that were measured to slow this graph down.
            pack_to: Where to write the graph as it will run, with its weights beside it, which other sessions may map.
            is_packed: Whether the file was written so.

        Raises:
            ProviderError: The provider did not come up. There is no silent fallback.
            SessionError: The graph cannot be loaded.
            ConfigError: The provider does not take one of its options.
        """
        ort = onnxruntime()
        options = build_options(provider, config)
        if (fault := load_fault(provider)) is not None:
            raise _not_up(provider, fault)
        settings = session_options(config)
        if pack_to is not None:
            settings.optimized_model_filepath = str(pack_to)
            for key, value in _PACKING.items():
                settings.add_session_config_entry(f"session.{key}", value.format(name=pack_to.name))
        if is_packed:
            settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        providers: list[Any] = [(provider.ort_name, options)]
        if provider.ort_name != "CPUExecutionProvider":
            providers.append("CPUExecutionProvider")
        try:
            self._session = ort.InferenceSession(
                str(path),
                settings,
                providers=providers,
                disabled_optimizers=list(disabled_optimizers),
                enable_fallback=False,
            )
        except Exception as error:  # ONNX Runtime's exceptions have no common public base
            if provider.ort_name != "CPUExecutionProvider":
                raise _not_up(provider, _first_line(error)) from error
            raise _not_loaded(path, provider, error) from error
        if self._session.get_providers()[0] != provider.ort_name:
            raise _not_up(provider, "ONNX Runtime started without it; its log on stderr says why")
        self._provider = provider
        self._signature = Signature(_specs(self._session.get_inputs()), _specs(self._session.get_outputs()))
        self._output_names = [spec.name for spec in self._signature.outputs]
        self._binding: Binding | None = None
        if provider.bound_device:
            self._binding = Binding(
                self._session,
                self._output_names,
                device=provider.bound_device,
                device_id=config.device_id,
                cuda_graphs=config.provider_options.get(CUDA_GRAPHS.name) is True,
            )
        self._process = os.getpid()
        _loaded.add(self)

    @property
    def signature(self) -> Signature:
        """Inputs and outputs of the graph."""
        return self._signature

    @property
    def provider(self) -> str:
        """Short name of the provider that runs the graph."""
        return self._provider.name

    def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
        """Run the graph once; see `Session.run`."""

        def answer(options: Any) -> Any:
            if self._binding is None:
                return self._session.run(self._output_names, feed, options)
            return self._binding.run(feed, options)

        return dict(zip(self._output_names, self._supervised(answer, feed, stop), strict=True))

    def end_profile(self) -> Path:
        """Stop the profiler of a session that was loaded with `SessionConfig.profile_to`; see `session/profile.py`.

        Returns:
            The file with what its runs took.
        """
        return Path(self._session.end_profiling())

    def bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Bound:
        """Tie inputs and outputs to arrays; see `Binds.bind`."""
        fed = {name: array for name, array in inputs.items() if not any(array is one for one in outputs.values())}
        return _Bound(InPlace(self._session, inputs, outputs), fed, self._supervised)

    def _supervised(self, call: Callable[[Any], Any], feed: Mapping[str, Array], stop: Stop | None) -> Any:
        """Call ONNX Runtime: not after a fork, so that it can be stopped, and with its exceptions translated."""
        if os.getpid() != self._process:
            raise _forked(self._process)
        options: Any = None
        if stop is not None:
            options = onnxruntime().RunOptions()
            stop.enter(options)
        try:
            return call(options)
        except Exception as error:  # the same family as above
            raise _failed(feed, options is not None and options.terminate, error) from error
        finally:
            if stop is not None:
                stop.leave(options)


class _Bound:
    """Runs of a session over arrays that stay where they are; see `Bound`."""

    def __init__(self, runs: InPlace, fed: dict[str, Array], supervised: Callable[..., Any]) -> None:
        self._runs = runs
        self._fed = fed
        self._supervised = supervised

    def run(self, stop: Stop | None = None) -> None:
        self._supervised(self._runs.run, self._fed, stop)

    def put(self, name: str, array: Array) -> None:
        self._fed[name] = array
        self._runs.put(name, array)


def _forked(process: int) -> SessionError:
    return SessionError(
        f"a run in process {os.getpid()} requested",
        f"the session was loaded in process {process}, whose threads a fork does not bring along",
        "load the model, or create the engine, in the child",
    )


def _failed(feed: Mapping[str, Array], was_stopped: bool, error: Exception) -> SessionError:
    asked = f"a run with { ({name: list(array.shape) for name, array in feed.items()}) } requested"
    if was_stopped:
        return SessionError(asked, "it was stopped before it was done", "send it again, or allow it more time")
    return SessionError(
        asked,
        f"ONNX Runtime failed: {_first_line(error)}",
        "check the shapes; if they are right, please report this",
    )


def _not_loaded(path: Path, provider: Provider, error: Exception) -> SessionError:
    asked = f"'{path.name}' on provider '{provider.ort_name}' requested"
    if "AddInitialized" in str(error):  # of onnxruntime 1.32, where it makes a shared weight safe for a second time
        return SessionError(
            asked,
            "its layers share int8 weights, which ONNX Runtime cannot run without overflow on a CPU without VNNI",
            "use precision 'fp32'",
        )
    return SessionError(
        asked,
        f"ONNX Runtime cannot load it: {_first_line(error)}",
        "run 'ortolan verify' on the artifact, or export it again",
    )


def _not_up(provider: Provider, reason: str) -> ProviderError:
    return ProviderError(
        f"provider '{provider.ort_name}' requested",
        f"it does not come up here: {reason}",
        "install what is missing, or choose 'cpu'",
    )


def _specs(nodes: Sequence[Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            node.name, DTYPES.get(node.type, node.type), tuple("" if axis is None else axis for axis in node.shape)
        )
        for node in nodes
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
