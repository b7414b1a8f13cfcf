from __future__ import annotations

import pickle
import re

import pytest

from ortolan import errors

TREE = {
    "EngineError": "OrtolanError",
    "RequestError": "EngineError",
    "InvalidInputError": "RequestError",
    "InputTooLongError": "RequestError",
    "UnknownTaskError": "RequestError",
    "UnknownModelError": "RequestError",
    "CapacityError": "EngineError",
    "QueueFullError": "CapacityError",
    "DeadlineError": "CapacityError",
    "ClosedError": "CapacityError",
    "ArtifactError": "EngineError",
    "MissingFileError": "ArtifactError",
    "HashMismatchError": "ArtifactError",
    "FormatVersionError": "ArtifactError",
    "SignatureError": "ArtifactError",
    "ProviderError": "ArtifactError",
    "InferenceError": "EngineError",
    "SessionError": "InferenceError",
    "ShapeError": "InferenceError",
    "NonFiniteError": "InferenceError",
    "ConfigError": "EngineError",
}
CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.OrtolanError)
}
EXTRA: dict[str, dict[str, int]] = {
    "QueueFullError": {"retry_after_ms": 7},
    "DeadlineError": {"deadline_ms": 50},
    "InvalidInputError": {"index": 3},
    "InputTooLongError": {"length": 9, "max_length": 5, "index": 3},
}


def make(name: str) -> errors.OrtolanError:
    made = CLASSES[name]("a thing requested", "there is none", "make one", **EXTRA.get(name, {}))
    assert isinstance(made, errors.OrtolanError)
    return made


def drawn_tree() -> dict[str, str]:
    """Read class and parent from the indented drawing at the top of errors.py; ExportError lives elsewhere."""
    parents: dict[str, str] = {}
    above: dict[int, str] = {}
    for indent, name in re.findall(r"^( *)(\w+Error)\b", errors.__doc__ or "", flags=re.MULTILINE):
        above[len(indent)] = name
        if indent and name != "ExportError":
            parents[name] = above[len(indent) - 2]
    return parents


@pytest.mark.parametrize(("name", "parent"), TREE.items(), ids=TREE)
def test_an_error_has_the_parent_that_says_who_can_act(name: str, parent: str):
    assert [base.__name__ for base in CLASSES[name].__bases__] == [parent]


def test_the_tree_holds_every_error_class():
    assert set(CLASSES) == {"OrtolanError", *TREE}


def test_the_tree_drawn_in_the_module_is_the_tree_of_classes():
    assert drawn_tree() == TREE


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_keeps_its_class_when_pickled(name: str):
    assert type(pickle.loads(pickle.dumps(make(name)))) is CLASSES[name]


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_keeps_its_message_when_pickled(name: str):
    assert str(pickle.loads(pickle.dumps(make(name)))) == str(make(name))


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_keeps_its_attributes_when_pickled(name: str):
    assert vars(pickle.loads(pickle.dumps(make(name)))) == vars(make(name))


def test_a_message_joins_what_was_asked_what_was_found_and_what_to_do():
    error = errors.ConfigError("a thing requested", "there is none", "make one")
    assert str(error) == "a thing requested, there is none; make one"


def test_the_three_parts_are_attributes():
    error = errors.ConfigError("a thing requested", "there is none", "make one")
    assert (error.asked, error.found, error.remedy) == ("a thing requested", "there is none", "make one")


@pytest.mark.parametrize("name", [name for name, extra in EXTRA.items() if "index" in extra])
def test_an_index_is_named_in_the_message(name: str):
    assert str(make(name)) == "a thing requested at index 3, there is none; make one"
