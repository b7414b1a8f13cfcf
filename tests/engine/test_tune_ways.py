from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ortolan import Artifact, ConfigError
from ortolan.choice import Way
from ortolan.config import PRECISIONS
from ortolan.manifest import Manifest
from ortolan.session.base import Signature, TensorSpec
from ortolan.session.providers import PROVIDERS, choose_precision
from ortolan.tune import ways as ways_module
from ortolan.tune.ways import make_feed, possible_ways, shapes
from tests.engine.damage import GOLDEN
from tests.engine.fakes import IDS, LOGITS, MASK, TYPES

MANIFEST = Artifact.open(GOLDEN).manifest
CPU = PROVIDERS["cpu"]


@pytest.fixture(autouse=True)
def _six_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways_module, "usable_threads", lambda: 6)


def with_forms(manifest: Manifest) -> Manifest:
    """A manifest whose int8 was kept in a second form."""
    int8 = manifest.precisions["int8"]
    forms = {"unfused": int8.graphs["model"]}
    return replace(manifest, precisions={**manifest.precisions, "int8": replace(int8, forms=forms)})


def values(of: Callable[[Way], object], manifest: Manifest = MANIFEST, provider: str = "cpu") -> list[object]:
    return list(dict.fromkeys(of(way) for way in possible_ways(manifest, PROVIDERS[provider])))


def test_what_runs_untuned_is_first():
    assert possible_ways(MANIFEST, CPU)[0] == Way(choose_precision(CPU, tuple(MANIFEST.precisions))[0], "packed", (), 6)


def test_every_precision_of_the_artifact_is_tried():
    assert set(values(lambda way: way.precision)) == {"fp32", "int8"}


def test_a_precision_that_the_provider_does_not_run_is_not_tried():
    assert values(lambda way: way.precision, provider="dml") == ["fp32"]


def test_an_artifact_without_a_precision_for_the_provider_is_an_error():
    int8 = replace(MANIFEST, precisions={"int8": MANIFEST.precisions["int8"]})
    with pytest.raises(ConfigError, match="the artifact holds int8 and it runs fp16, fp32"):
        possible_ways(int8, PROVIDERS["dml"])


def test_threads_are_powers_of_two_and_all():
    assert values(lambda way: way.num_threads) == [6, 4, 2, 1]


def test_one_thread_is_tried_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ways_module, "usable_threads", lambda: 1)
    assert values(lambda way: way.num_threads) == [1]


def test_where_the_cpu_does_not_do_the_work_its_threads_are_not_tried():
    assert values(lambda way: way.num_threads, provider="cuda") == [6]


def test_rewrites_are_left_out_in_each_way():
    assert values(lambda way: way.disabled_optimizers) == [(), ("SkipLayerNormFusion",)]


def test_what_the_export_left_out_is_tried_first():
    measured = {"cpu": {"attention": "packed", "disabled_optimizers": ["GeluFusion"]}}
    records = {name: replace(record, providers=measured) for name, record in MANIFEST.precisions.items()}
    assert values(lambda way: way.disabled_optimizers, replace(MANIFEST, precisions=records)) == [
        ("GeluFusion",),
        (),
        ("SkipLayerNormFusion",),
    ]


def test_forms_that_were_kept_are_tried():
    assert values(lambda way: way.attention, with_forms(MANIFEST)) == ["packed", "unfused"]


def test_no_way_is_tried_twice():
    ways = possible_ways(with_forms(MANIFEST), CPU)
    assert len(ways) == len(set(ways)) == 4 * 2 * (2 + 1)


def test_what_is_most_like_untuned_is_tried_first():
    ways = possible_ways(with_forms(MANIFEST), CPU)
    assert [way.num_threads for way in ways] == sorted((way.num_threads for way in ways), reverse=True)


def test_shapes_are_single_texts_and_then_a_batch():
    assert shapes(512) == [(1, 16), (1, 128), (8, 32)]


def test_shapes_are_no_longer_than_the_model_reads():
    assert shapes(24) == [(1, 16), (1, 24), (8, 24)]


def test_shapes_that_a_short_model_makes_equal_are_timed_once():
    assert shapes(8) == [(1, 8), (8, 8)]


def test_a_feed_has_an_array_for_each_input_and_no_other():
    assert list(make_feed(Signature((IDS, MASK), (LOGITS,)), [1], 2, 3)) == ["input_ids", "attention_mask"]


def test_a_feed_repeats_the_ids():
    feed = make_feed(Signature((IDS, MASK, TYPES), (LOGITS,)), [5, 6, 7], 2, 4)
    assert {name: array.tolist() for name, array in feed.items()} == {
        "input_ids": [[5, 6, 7, 5], [6, 7, 5, 6]],
        "attention_mask": [[1] * 4] * 2,
        "token_type_ids": [[0] * 4] * 2,
    }


def test_a_feed_has_the_dtype_of_the_graph():
    feed = make_feed(Signature((TensorSpec("input_ids", "int32", ("batch", "sequence")),), (LOGITS,)), [5], 1, 2)
    assert feed["input_ids"].dtype == np.int32


def test_every_provider_has_precisions_that_exist():
    assert all(set(row.precisions) <= set(PRECISIONS) for row in PROVIDERS.values())
