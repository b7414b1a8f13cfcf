from __future__ import annotations

import pytest

from ortolan import UnknownTaskError
from ortolan.tasks.registry import ALIASES, TASKS, task_named


def test_a_task_is_found_by_its_name():
    assert task_named("text-classification").name == "text-classification"


def test_an_alias_is_the_task_itself():
    assert task_named("sentiment-analysis") is task_named("text-classification")


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_registered_under_its_own_name(name: str):
    assert TASKS[name].name == name


@pytest.mark.parametrize("alias", ALIASES)
def test_an_alias_names_a_registered_task(alias: str):
    assert ALIASES[alias] in TASKS


def test_an_unknown_task_names_the_known():
    with pytest.raises(UnknownTaskError) as caught:
        task_named("sentiment")
    assert str(caught.value).startswith("task 'sentiment' requested, no such task; use one of text-classification, ")
    assert all(name in caught.value.remedy for name in (*TASKS, *ALIASES))
