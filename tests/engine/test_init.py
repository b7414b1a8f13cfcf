from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import ortolan
from ortolan import errors


def test_all_equals_the_public_names_of_the_package():
    names = {name for name, value in vars(ortolan).items() if not isinstance(value, ModuleType) and name[0] != "_"}
    loaded_when_asked_for = {"Engine"}
    assert set(ortolan.__all__) == {*names, "__version__", *loaded_when_asked_for}


def test_every_public_name_is_there():
    assert [name for name in ortolan.__all__ if not hasattr(ortolan, name)] == []


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Motor'"):
        ortolan.Motor  # noqa: B018


def test_importing_the_package_does_not_load_what_only_services_need():
    code = "import sys, ortolan; print(sorted({'asyncio', 'onnxruntime', 'ortolan.engine'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_error_class_is_public():
    classes = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert classes - set(ortolan.__all__) == set()


def test_all_is_sorted():
    assert ortolan.__all__ == sorted(ortolan.__all__)
