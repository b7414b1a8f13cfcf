from dataclasses import replace

import numpy as np
import pytest

from ortolan.bench.compare import Change, compare, comparison_text
from ortolan.bench.records import Case, Ceiling, Record, Work
from ortolan.errors import ConfigError
from tests.engine.bench_records import CASE, RUN

SHAPES = ("1x16", "1x128", "8x128")
MILLISECONDS = {"Ortolan int8": 4.0, "Ortolan fp32": 11.0, "eager fp32": 20.0}
WORK = Work(flops=1e9, bytes=1e8)


def case(contender: str, shape: str = "1x128", *, ms: float = 4.0, rounds: int = 7, **others: object) -> Case:
    made = replace(CASE, contender=contender, case=shape, rounds=((ms, ms * 1.01),) * rounds)
    return replace(made, **others)


def noisy(seed: int, *, slower: float = 1.0, noise: float = 0.03, only: str = "", rounds: int = 9) -> Record:
    """A run on a shared machine: slow minutes hit all contenders of a round, and each call has noise of its own.

    `slower` is what Ortolan's contenders take longer than they should; `only` keeps no contender but that one.
    """
    draw = np.random.default_rng(seed)
    cases = []
    for shape in SHAPES:
        minutes = np.exp(np.abs(0.2 * draw.standard_normal(rounds)))  # never quicker than the machine is
        for name, ms in MILLISECONDS.items():
            middle = ms * (slower if name.startswith("Ortolan") else 1.0)
            calls = middle * minutes[:, None] * np.exp(noise * np.abs(draw.standard_normal((rounds, 5))))
            if only in name:
                cases.append(replace(CASE, case=shape, contender=name, rounds=tuple(map(tuple, calls.tolist()))))
    return Record(RUN, cases=tuple(cases))


def regressions(changes: list[Change]) -> set[tuple[str, str]]:
    return {(change.contender, change.case) for change in changes if change.is_regression}


@pytest.mark.parametrize("seed", range(10))
def test_a_slow_down_of_a_fifth_is_found_among_slow_minutes(seed: int):
    found = regressions(compare(noisy(seed), noisy(100 + seed, slower=1.2), 0.1))
    assert {contender for contender, _ in found} == {"Ortolan int8", "Ortolan fp32"}
    assert len(found) >= 4


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("threshold", [0.1, 0.03])
def test_noise_alone_is_no_regression(seed: int, threshold: float):
    assert regressions(compare(noisy(seed), noisy(100 + seed), threshold)) == set()


@pytest.mark.parametrize("seed", range(10))
def test_noise_alone_is_no_regression_without_a_yardstick(seed: int):
    # slow minutes do not cancel out here: the interval has to be as wide as they make it
    assert regressions(compare(noisy(seed, only="Ortolan"), noisy(100 + seed, only="Ortolan"), 0.1)) == set()


def test_the_level_holds_for_all_cases_together():
    found = [
        bool(regressions(compare(noisy(seed, noise=0.1), noisy(1000 + seed, noise=0.1), 0.0))) for seed in range(40)
    ]
    assert sum(found) <= 6  # a twentieth of forty is 2; more than 6 has a chance of a half per cent


def test_what_is_quicker_is_better():
    [change] = compare(Record(RUN, cases=(case("a", ms=4),)), Record(RUN, cases=(case("a", ms=3),)), 0.1)
    assert change.verdict == "better"
    assert change.ratio is not None
    assert change.ratio.middle == pytest.approx(4 / 3)


def test_a_rate_that_falls_is_worse():
    rate = {"unit": "tok/s", "better": "more"}
    [change] = compare(
        Record(RUN, cases=(case("a", ms=100, **rate),)), Record(RUN, cases=(case("a", ms=80, **rate),)), 0.1
    )
    assert change.verdict == "worse"
    assert change.ratio is not None
    assert change.ratio.middle == pytest.approx(0.8)


@pytest.mark.parametrize(("ms", "verdict"), [(4.39, "same"), (4.41, "worse")])
def test_the_threshold_is_extra_time(ms: float, verdict: str):
    [change] = compare(
        Record(RUN, cases=(replace(case("a"), rounds=((4.0,),) * 7),)),
        Record(RUN, cases=(replace(case("a"), rounds=((ms,),) * 7),)),
        0.1,
    )
    assert change.verdict == verdict


def test_a_slow_machine_cancels_out_beside_another_contender():
    old = Record(RUN, cases=(case("Ortolan int8", ms=4), case("eager fp32", ms=20)))
    new = Record(RUN, cases=(case("Ortolan int8", ms=8), case("eager fp32", ms=40)))
    change = next(one for one in compare(old, new, 0.1) if one.contender == "Ortolan int8")
    assert (change.verdict, change.basis) == ("same", "beside eager fp32")


def test_others_are_the_yardstick_and_not_what_is_judged():
    old = Record(RUN, cases=(case("Ortolan int8", ms=4), case("eager fp32", ms=20)))
    new = Record(RUN, cases=(case("Ortolan int8", ms=4), case("eager fp32", ms=40)))
    assert [change.contender for change in compare(old, new, 0.1)] == ["Ortolan int8"]


def test_ortolan_is_no_yardstick_for_ortolan():
    old = Record(RUN, cases=(case("Ortolan int8", ms=4), case("Ortolan fp32", ms=20)))
    new = Record(RUN, cases=(case("Ortolan int8", ms=5), case("Ortolan fp32", ms=25)))
    changes = compare(old, new, 0.1)
    assert {change.verdict for change in changes} == {"worse"}
    assert {change.basis for change in changes} == {"as measured"}


def test_a_contender_of_another_version_is_no_yardstick():
    newer = replace(RUN, versions={**RUN.versions, "eager": {"torch": "2.10.0"}})
    old = Record(RUN, cases=(case("Ortolan int8", ms=4), case("eager fp32", ms=20)))
    new = Record(newer, cases=(case("Ortolan int8", ms=5), case("eager fp32", ms=25)))
    change = next(one for one in compare(old, new, 0.1) if one.contender == "Ortolan int8")
    assert (change.verdict, change.basis) == ("worse", "as measured")


def limited(ms: float, gflops: float, **run: object) -> Record:
    ceilings = (
        Ceiling(name="int8 product", unit="GOP/s", samples=(gflops,) * 5),
        Ceiling(name="memory", unit="GB/s", samples=(gflops / 10,) * 5),
    )
    return Record(replace(RUN, **run), ceilings, (case("Ortolan int8", ms=ms, work=WORK),))


def test_machines_are_compared_by_the_share_of_their_limits():
    [change] = compare(limited(4, 500), limited(8, 250, processor="Slow CPU"), 0.1)
    assert (change.verdict, change.basis) == ("same", "share of the limit")
    [change] = compare(limited(4, 500), limited(4, 1000, processor="Quick CPU"), 0.1)
    assert (change.verdict, change.basis) == ("worse", "share of the limit")


@pytest.mark.parametrize(
    ("new", "verdict"),
    [
        pytest.param(limited(8, 250), "same", id="a slow run, as its limits say too"),
        pytest.param(limited(4, 1000), "same", id="a bad minute for the old limits"),
        pytest.param(limited(6, 500), "worse", id="a slow-down that both see"),
    ],
)
def test_on_one_machine_times_and_limits_have_to_agree(new: Record, verdict: str):
    [change] = compare(limited(4, 500), new, 0.1)
    assert change.verdict == verdict


def test_times_of_different_machines_are_not_judged():
    old, new = Record(RUN, cases=(case("a"),)), Record(replace(RUN, threads=8), cases=(case("a", ms=40),))
    [change] = compare(old, new, 0.1)
    assert (change.verdict, change.ratio) == ("not judged", None)
    assert change.basis == "another machine, and no yardstick in both records"


def test_what_only_one_record_has_is_told_and_not_judged():
    old, new = Record(RUN, cases=(case("a"),)), Record(RUN, cases=(case("b"),))
    found = {change.contender: (change.verdict, change.basis) for change in compare(old, new, 0.1)}
    assert found == {"a": ("not judged", "not in the new record"), "b": ("not judged", "not in the old record")}


def test_few_rounds_are_not_judged():
    old, new = Record(RUN, cases=(case("a"),)), Record(RUN, cases=(case("a", ms=40, rounds=4),))
    [change] = compare(old, new, 0.1)
    assert (change.verdict, change.basis) == ("not judged", "4 of 5 rounds")


def test_a_case_in_another_unit_is_not_judged():
    old, new = Record(RUN, cases=(case("a"),)), Record(RUN, cases=(case("a", unit="s"),))
    [change] = compare(old, new, 0.1)
    assert change.basis == "was in ms, is in s"


@pytest.mark.parametrize("threshold", [-0.1, float("nan"), float("inf")])
def test_a_threshold_that_is_no_share_is_refused(threshold: float):
    with pytest.raises(ConfigError, match="it is no share"):
        compare(Record(RUN), Record(RUN), threshold)


def test_the_text_tells_changes_and_counts_the_rest():
    old = Record(RUN, cases=(case("a"), case("b"), case("c")))
    new = Record(RUN, cases=(case("a"), case("b", ms=8)))
    assert comparison_text(compare(old, new, 0.1), 0.1) == (
        "worse       latency: tiny, 1x128, b: 0.50 times as good as before (0.50 to 0.50, beside a)\n"
        "better      latency: tiny, 1x128, a: 2.00 times as good as before (2.00 to 2.00, beside b)\n"
        "not judged  latency: tiny, 1x128, c: not in the new record\n"
        "3 compared: 1 worse, 1 better, 0 same, 1 not judged (threshold 10%, beyond noise)\n"
    )
