from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError

import pytest

from ortolan import ProviderError
from ortolan.session import runtime
from ortolan.session.runtime import installed, onnxruntime


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """The module is found anew in each test, and for whoever comes after."""
    onnxruntime.cache_clear()
    yield
    onnxruntime.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch, distributions: dict[str, str], *, importable: bool) -> None:
    def version(name: str) -> str:
        if name not in distributions:
            raise PackageNotFoundError(name)
        return distributions[name]

    monkeypatch.setattr(runtime, "version", version)
    if not importable:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)


def test_what_is_installed_is_listed_with_versions(monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, {"onnxruntime-gpu": "1.23.0"}, importable=True)
    assert installed() == {"onnxruntime-gpu": "1.23.0"}


def test_the_one_that_is_installed_is_imported():
    assert onnxruntime().__name__ == "onnxruntime"


def test_one_without_metadata_is_used(monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, {}, importable=True)
    assert onnxruntime().__name__ == "onnxruntime"


def test_none_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, {}, importable=False)
    with pytest.raises(ProviderError) as caught:
        onnxruntime()
    assert str(caught.value) == (
        "ONNX Runtime requested, none is installed; "
        "run: pip install 'ortolan[cpu]' (or [gpu] for NVIDIA, [openvino] for Intel)"
    )


def test_two_installed_over_each_other_are_refused_with_both_names(monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, {"onnxruntime": "1.23.0", "onnxruntime-gpu": "1.22.0"}, importable=True)
    with pytest.raises(ProviderError) as caught:
        onnxruntime()
    assert str(caught.value) == (
        "ONNX Runtime requested, several are installed over each other: onnxruntime 1.23.0, onnxruntime-gpu 1.22.0; "
        "run: pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
    )


def test_one_that_cannot_be_imported_says_how_to_reinstall_it(monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, {"onnxruntime-gpu": "1.22.0"}, importable=False)
    with pytest.raises(ProviderError, match="onnxruntime-gpu is installed and cannot be imported") as caught:
        onnxruntime()
    assert caught.value.remedy == "run: pip install --force-reinstall onnxruntime-gpu"


def test_a_failure_is_not_remembered(monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        install(patch, {}, importable=False)
        with pytest.raises(ProviderError):
            onnxruntime()
    assert onnxruntime().__name__ == "onnxruntime"
