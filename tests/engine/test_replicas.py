from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from ortolan import BatchingConfig, ConfigError, Engine, Model, Pipeline, pipeline
from ortolan.batch.calibrate import LEAST_TOKENS
from ortolan.batch.slots import Slots
from ortolan.replicas import MOST_ROWS, Replicas
from ortolan.session.base import Array, Stop
from tests.engine.damage import GOLDEN
from tests.engine.fakes import FakeSession, fake_model

QUICK = BatchingConfig(calibration_ms=1)


def golden(num_threads: int | None = None) -> Pipeline:
    return pipeline("text-classification", Model.load(GOLDEN, "cpu", "fp32", num_threads=num_threads))


class DeviceSession(FakeSession):
    """Runs on a device: one run at a time, as many devices at a time as there are."""

    together = 0
    most = 0
    lock = threading.Lock()

    def __init__(self) -> None:
        super().__init__()
        self.provider = "cuda"
        self.is_busy = False

    def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
        assert not self.is_busy, "two runs on one device"
        self.is_busy = True
        with self.lock:
            DeviceSession.together += 1
            DeviceSession.most = max(DeviceSession.most, DeviceSession.together)
        threading.Event().wait(0.002)
        outputs = super().run(feed, stop)
        with self.lock:
            DeviceSession.together -= 1
        self.is_busy = False
        return outputs


def on_devices(artifact: Path, number: int) -> list[Pipeline]:
    return [pipeline("text-classification", fake_model(artifact, DeviceSession())) for _ in range(number)]


@pytest.mark.parametrize(
    ("threads", "widths"), [(1, {1}), (2, {1, 2}), (4, {1, 4}), (16, {1, 4, 16})], ids=["one", "two", "four", "many"]
)
def test_runs_may_have_all_threads_or_a_part_of_them(threads: int, widths: set[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ortolan.replicas.WORTH", float("inf"))
    replicas = Replicas("model", [golden(threads)], QUICK, Slots(threads))
    assert set(replicas.group.costs) == widths


def test_widths_that_save_nothing_are_let_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ortolan.replicas.WORTH", 0.0)
    assert set(Replicas("model", [golden(2)], QUICK, Slots(2)).group.costs) == {2}


def test_a_model_that_was_loaded_for_one_thread_runs_on_one_and_several_at_a_time():
    replicas = Replicas("model", [golden(1)], QUICK, Slots(2))
    assert set(replicas.group.costs) == {1}
    assert replicas.group.slots.total == 2


def test_an_engine_may_have_fewer_threads_than_its_model():
    with Engine(golden(2), batching=QUICK, num_threads=1) as engine:
        assert engine.submit_nowait("sun").result(30)[0]["label"] in {"POSITIVE", "NEGATIVE"}


def test_limits_follow_from_what_runs_cost_unless_they_are_set():
    group = Replicas("model", [golden(1)], QUICK, Slots(1)).group
    assert group.limits.max_rows == MOST_ROWS
    assert group.limits.max_tokens >= LEAST_TOKENS
    assert group.max_queue >= 64
    config = BatchingConfig(calibration_ms=1, max_batch_size=3, max_batch_tokens=50, max_queue=7, max_wait_ms=5)
    group = Replicas("model", [golden(1)], config, Slots(1)).group
    assert (group.limits.max_rows, group.limits.max_tokens, group.limits.max_wait_seconds) == (3, 50, 0.005)
    assert group.max_queue == 7


def test_what_tune_found_is_what_is_planned_with(artifact: Path):
    tuned = {(1, 16): 0.5, (1, 64): 1.0, (8, 64): 6.0}
    model = fake_model(artifact)
    model.tuned_seconds = tuned
    [table] = Replicas("model", [pipeline("text-classification", model)], QUICK, Slots(1)).group.costs.values()
    assert table.seconds(1, 16) == pytest.approx(0.5, rel=0.05)


def test_replicas_on_devices_run_at_the_same_time_and_one_run_each(artifact: Path):
    DeviceSession.most = 0
    with Engine(on_devices(artifact, 3), batching=BatchingConfig(calibration_ms=1, max_batch_size=1)) as engine:
        futures = [engine.submit_nowait(f"the film {word}") for word in ["was", "good", "bad", "i", "love"] * 8]
        assert all(future.result(30) for future in futures)
    assert DeviceSession.most == 3


def test_replicas_must_be_of_one_artifact(artifact: Path):
    [one] = on_devices(artifact, 1)
    [other] = on_devices(GOLDEN, 1)
    with pytest.raises(ConfigError, match="2 replicas of 'model' requested"):
        Replicas("model", [one, other], QUICK, Slots(1))


def test_a_model_on_a_device_and_one_on_the_cpu_do_not_wait_for_each_other(artifact: Path):
    with Engine({"far": on_devices(artifact, 1), "near": golden(1)}, batching=QUICK, num_threads=1) as engine:
        both = [engine.submit_nowait("sun", model=name) for name in ("far", "near")]
        assert all(future.result(30) for future in both)
