"""What has become slower between two records, beyond noise: for those who run benchmarks at every change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ortolan.bench.ceilings import least_seconds, product_of
from ortolan.bench.findings import is_own
from ortolan.bench.records import Case, Record
from ortolan.bench.statistics import LEVEL, SEED, Floats, Ratio, divided, interval, resampled, round_medians
from ortolan.errors import ConfigError

MIN_ROUNDS = 5
"""Fewer rounds are not judged: the interval of their median is a guess."""

Verdict = Literal["worse", "better", "same", "not judged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One contender in one case, then and now.

    Attributes:
        group: As in `Case`.
        subject: As in `Case`.
        case: As in `Case`.
        contender: As in `Case`.
        ratio: How many times as good as before it is now, with an interval that holds for all cases of the comparison
            together; None where that can't be said.
        basis: What was compared: "beside" other contenders, as a "share of the limit", or "as measured". Where it was
            not judged, why not.
        verdict: "worse" is a regression past the threshold.
    """

    group: str
    subject: str
    case: str
    contender: str
    ratio: Ratio | None
    basis: str
    verdict: Verdict

    @property
    def is_regression(self) -> bool:
        """Whether it is worse than before by more than the threshold, beyond noise."""
        return self.verdict == "worse"


def compare(old: Record, new: Record, threshold: float) -> list[Change]:
    """Find what is slower than before.

    The two runs had other minutes, and perhaps other machines. Their rounds are no pairs, so that each side is
    bootstrapped for itself. What they share is a yardstick, and the best one there is decides:

    1. Other contenders of the same case, of other projects and of the same versions in both runs. They took turns with
       the one that is judged, in the same minutes, so that a slow machine cancels out. No contender of Ortolan is the
       yardstick of another: what became slower may be what all of them run through.
    2. The limits of the machine, measured in both runs, where the least that a call has to do is known. They were
       measured in other minutes than the case, and the machine may have been slow in just those. On one and the same
       machine the times as measured are a second opinion, and the kinder one of the two counts: a real slow-down is in
       both, a bad minute in one.
    3. On the same machine, the times as measured. Between different machines they say nothing: not judged.

    A regression is what is worse even at the kind end of its interval, by more than the threshold. Many cases are
    judged at once, and the level is divided among them (Bonferroni), so that of twenty comparisons in which nothing has
    changed about one finds something even at a threshold of 0.

    Args:
        old: What was measured before.
        new: What was measured now.
        threshold: How much more time is allowed: 0.1 is a tenth more, or a rate divided by 1.1.

    Returns:
        One for each case of Ortolan's contenders in either record; of all contenders where none is Ortolan's. Those
        that only one record has, or with fewer than five rounds, are "not judged". The worst first.

    Raises:
        ConfigError: The threshold is negative, or not finite.
    """
    if not 0.0 <= threshold < float("inf"):
        raise ConfigError(f"threshold {threshold} requested", "it is no share", "use 0.1 for a tenth")
    before, after = ({(*case.place, case.contender): case for case in record.cases} for record in (old, new))
    if own := {key for key in before.keys() | after.keys() if is_own(key[-1])}:
        before, after = ({key: case for key, case in side.items() if key in own} for side in (before, after))
    level = 1.0 - (1.0 - LEVEL) / max(1, len(before.keys() & after.keys()))
    sides = _Side.of(old), _Side.of(new)
    found = []
    for key in before.keys() | after.keys():
        ratio, basis = None, _reason(before.get(key), after.get(key))
        if not basis:
            ratio, basis = _judged(before[key], after[key], *sides, level)
        verdict = "not judged" if ratio is None else _verdict(ratio, threshold)
        group, subject, case, contender = key
        found.append(
            Change(
                group=group,
                subject=subject,
                case=case,
                contender=contender,
                ratio=ratio,
                basis=basis,
                verdict=verdict,
            )
        )
    return sorted(found, key=_order)


def comparison_text(changes: Sequence[Change], threshold: float) -> str:
    """Say in lines what `compare` has found: each change, then how many there are of each kind."""
    lines = [_line(change) for change in changes if change.verdict != "same"]
    counts = {verdict: sum(change.verdict == verdict for change in changes) for verdict in ("worse", "better", "same")}
    rest = len(changes) - sum(counts.values())
    words = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    lines.append(f"{len(changes)} compared: {words}, {rest} not judged (threshold {threshold:.0%}, beyond noise)")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two records, as its cases are judged."""

    machine: tuple[object, ...]
    ceilings: Mapping[str, Floats]
    others: Mapping[tuple[str, str, str], Mapping[str, Case]]
    versions: Mapping[str, Mapping[str, str]]

    @classmethod
    def of(cls, record: Record) -> _Side:
        run = record.run
        others: dict[tuple[str, str, str], dict[str, Case]] = {}
        for case in record.cases:
            if not is_own(case.contender):
                others.setdefault(case.place, {})[case.contender] = case
        samples: dict[str, list[float]] = {}
        for ceiling in record.ceilings:
            samples.setdefault(ceiling.name, []).extend(ceiling.samples)
        machine = (run.processor, run.cpu_features, run.threads, run.system)
        return cls(machine, {name: np.array(taken) for name, taken in samples.items()}, others, run.versions)


def _reason(before: Case | None, after: Case | None) -> str:
    """Say why a case can't be judged; nothing if it can."""
    if before is None:
        return "not in the old record"
    if after is None:
        return "not in the new record"
    if (before.unit, before.better) != (after.unit, after.better):
        return f"was in {before.unit}, is in {after.unit}"
    fewest = min(len(before.rounds), len(after.rounds))
    return f"{fewest} of {MIN_ROUNDS} rounds" if fewest < MIN_ROUNDS else ""


def _judged(before: Case, after: Case, old: _Side, new: _Side, level: float) -> tuple[Ratio | None, str]:
    """Compare on the best basis that both runs have; with what that is, or why there is none."""
    if names := _references(before, after, old, new):
        sides = [_beside(own, side, names) for own, side in ((before, old), (after, new))]
        return _estimate(*sides, level=level), f"beside {', '.join(names)}"
    bases = {}
    then, now = _share(before, old), _share(after, new)
    if then is not None and now is not None:
        bases["share of the limit"] = _estimate(then, now, level=level)
    if old.machine == new.machine:
        bases["as measured"] = _estimate(_goodness(before), _goodness(after), level=level)
    if not bases:
        return None, "another machine, and no yardstick in both records"
    basis = max(bases, key=lambda name: bases[name].high)
    return bases[basis], basis


def _references(before: Case, after: Case, old: _Side, new: _Side) -> list[str]:
    """Name the contenders that are the yardstick of a case: those of others that are the same in both runs."""
    then, now = old.others.get(before.place, {}), new.others.get(after.place, {})
    return [
        name
        for name in then
        if name != before.contender
        and name in now
        and _can_stand_beside(then[name], before)
        and _can_stand_beside(now[name], after)
        and _versions(old, name) == _versions(new, name)
    ]


def _can_stand_beside(reference: Case, case: Case) -> bool:
    return (
        len(reference.rounds) == len(case.rounds)
        and (reference.unit, reference.better) == (case.unit, case.better)
        and min(reference.samples) > 0.0
    )


def _beside(case: Case, side: _Side, names: Sequence[str]) -> Floats:
    """How many times as good as the yardstick a case is, float64 [rounds]; that is the geometric mean of several."""
    logs = [np.log(_goodness(side.others[case.place][name])) for name in names]
    found: Floats = _goodness(case) / np.exp(np.mean(logs, axis=0))
    return found


def _versions(side: _Side, contender: str) -> Mapping[str, Mapping[str, str]]:
    """Versions of the program that a contender's name begins with; where none is called so, of all others'."""
    others = {name: found for name, found in side.versions.items() if not is_own(name)}
    return {name: found for name, found in others.items() if contender.lower().startswith(name.lower())} or others


def _share(case: Case, side: _Side) -> Floats | None:
    """What part of the machine's limit each round reached, float64 [rounds]; None where nobody knows."""
    if case.work is None or case.unit not in ("ms", "s"):
        return None
    middle = {name: float(np.median(samples)) for name, samples in side.ceilings.items()}
    least = least_seconds(case.work, product_of(case.contender), middle)  # type: ignore[arg-type]
    return None if least is None else least * _goodness(case)


def _goodness(case: Case) -> Floats:
    """The middle of each round, turned so that more is better, float64 [rounds]."""
    medians = round_medians(case)
    return divided(np.ones_like(medians), medians) if case.better == "less" else medians


def _estimate(before: Floats, after: Floats, *, level: float) -> Ratio:
    """Compare the medians of two runs, each resampled for itself."""
    draw = np.random.default_rng(SEED)
    now, then = (np.median(resampled(values, draw), axis=1) for values in (after, before))
    middle = divided(np.array([np.median(after)]), np.array([np.median(before)]))
    return interval(float(middle[0]), divided(now, then), level)


def _verdict(ratio: Ratio, threshold: float) -> Verdict:
    if ratio.high < 1.0 / (1.0 + threshold):
        return "worse"
    return "better" if ratio.low > 1.0 + threshold else "same"


def _order(change: Change) -> tuple[object, ...]:
    middle = float("inf") if change.ratio is None else change.ratio.middle
    return (not change.is_regression, middle, change.group, change.subject, change.case, change.contender)


def _line(change: Change) -> str:
    where = f"{change.group}: {change.subject}, {change.case}, {change.contender}"
    if change.ratio is None:
        return f"not judged  {where}: {change.basis}"
    ratio = change.ratio
    words = f"{ratio.middle:.2f} times as good as before ({ratio.low:.2f} to {ratio.high:.2f}, {change.basis})"
    return f"{change.verdict:<10}  {where}: {words}"
