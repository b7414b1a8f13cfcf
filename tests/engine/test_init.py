from __future__ import annotations

from types import ModuleType

import ortolan
from ortolan import errors


def test_all_equals_the_public_names_of_the_package():
    names = {name for name, value in vars(ortolan).items() if not isinstance(value, ModuleType) and name[0] != "_"}
    assert set(ortolan.__all__) == {*names, "__version__"}


def test_every_error_class_is_public():
    classes = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert classes - set(ortolan.__all__) == set()


def test_all_is_sorted():
    assert ortolan.__all__ == sorted(ortolan.__all__)
