"""What a record says: who is compared with whom, how much quicker, how right, how near to the limit. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ortolan.bench.ceilings import least_seconds, limits, product_of
from ortolan.bench.records import Case, CeilingName, Quality, Record
from ortolan.bench.statistics import Ratio, ratio, summarize

OWN = "ortolan"
"""How the names of this project's contenders begin, in lower case."""

_SHAPE = re.compile(r"(\d{1,6}) ?x ?(\d{1,6})\b")
_NUMBER = re.compile(r"\d{1,9}")
_REFERENCES = ("eager fp32", "eager", "torch", "transformers")
_TIMES = {"ms": 1e-3, "s": 1.0}
"""Units of time, in seconds."""


@dataclass(frozen=True, slots=True)
class Beside:
    """A case, and how it compares with the reference's of the same place.

    Attributes:
        case: Whose.
        ratio: How many times as good as the reference.
    """

    case: Case
    ratio: Ratio


@dataclass(frozen=True, slots=True)
class Share:
    """How much of the machine's limit a case reaches.

    Attributes:
        case: Whose.
        share: Time that the limit allows, as a part of the time that was taken.
        by: The limit that would be reached first: a product, or memory.
    """

    case: Case
    share: float
    by: CeilingName


@dataclass(frozen=True, slots=True)
class Standing:
    """A contender of a subject: how quick, and how right.

    Attributes:
        contender: Who.
        speed: How many times as quick as the reference, geometric mean over the cases of latency.
        quality: Of its answers, the worst of what its cases say.
    """

    contender: str
    speed: float
    quality: Quality


def is_own(contender: str) -> bool:
    """Whether a contender is one of this project's."""
    return contender.lower().startswith(OWN)


def contenders(record: Record) -> list[str]:
    """Name all contenders that were measured: this project's first, then others, each as they came."""
    names = list(dict.fromkeys(case.contender for case in record.cases))
    return sorted(names, key=lambda name: not is_own(name))


def subjects(record: Record) -> list[str]:
    """Name all subjects, as they came."""
    return list(dict.fromkeys(case.subject for case in record.cases))


def by_place(cases: Iterable[Case]) -> list[list[Case]]:
    """Put together what contenders did in the same case of the same subject, in the order in which they came."""
    places: dict[tuple[str, str, str], list[Case]] = {}
    for case in cases:
        places.setdefault(case.place, []).append(case)
    return list(places.values())


def best(cases: Iterable[Case]) -> Case | None:
    """Choose, of cases in the same place, that of the best median; None of none."""
    return min(cases, key=_badness, default=None)


def in_order(record: Record) -> Record:
    """Sort the cases of each group of a subject by the numbers in their names: rows, tokens, rates.

    Names without numbers come first, and equal ones stay as they came.
    """
    first: dict[tuple[str, str], int] = {}
    for place, case in enumerate(record.cases):
        first.setdefault((case.group, case.subject), place)

    def order(case: Case) -> tuple[int, list[int]]:
        return first[case.group, case.subject], [int(number) for number in _NUMBER.findall(case.case)]

    return replace(record, cases=tuple(sorted(record.cases, key=order)))


def reference(record: Record) -> str:
    """Name the contender that all others are compared with, but in cases that name one of their own.

    Eager PyTorch in fp32 where it was measured, else another of torch's, else the first that is not this project's,
    else the first; "" of an empty record.
    """
    names = contenders(record)
    for word in _REFERENCES:
        for name in names:
            if word in name.lower() and not is_own(name):
                return name
    others = [name for name in names if not is_own(name)]
    return next(iter(others or names), "")


def reference_of(record: Record, case: Case) -> str:
    """Name the contender that a case is compared with."""
    return case.reference or reference(record)


def shape_of(case: Case) -> tuple[int, int] | None:
    """Read rows and tokens of a case that is named after them, such as 8x128; None of any other."""
    found = _SHAPE.match(case.case)
    return None if found is None else (int(found[1]), int(found[2]))


def tokens_a_second(case: Case) -> float | None:
    """Say how many tokens a case gets through in a second, padding counted; None where it does not tell."""
    middle = summarize(case).median
    if case.unit == "tok/s":
        return middle
    shape = shape_of(case)
    if case.unit not in _TIMES or shape is None or middle <= 0.0:
        return None
    return shape[0] * shape[1] / (middle * _TIMES[case.unit])


def beside_reference(record: Record, cases: Iterable[Case]) -> list[Beside]:
    """Compare cases with their reference's; those that can't be are left out, and so are its own."""
    by_name = {(case.place, case.contender): case for case in record.cases}
    common = reference(record)
    found = []
    for case in cases:
        name = case.reference or common
        other = by_name.get((case.place, name))
        if other is not None and case.contender != name and _are_pairs(case, other):
            found.append(Beside(case, ratio(case, other)))
    return found


def losses(record: Record) -> list[tuple[Case, Beside]]:
    """List every case in which another contender is better than the best of this project, beyond noise.

    Returns:
        This project's best case, and the other one beside it; the worst loss first.
    """
    found = []
    for cases in by_place(record.cases):
        own = best([case for case in cases if is_own(case.contender)])
        if own is None:
            continue
        others = [case for case in cases if not is_own(case.contender) and _are_pairs(case, own)]
        compared = [Beside(case, ratio(case, own)) for case in others]
        found += [(own, beside) for beside in compared if beside.ratio.low > 1.0]
    return sorted(found, key=lambda pair: -pair[1].ratio.middle)


def shares(record: Record, cases: Iterable[Case]) -> list[Share]:
    """Hold cases against the limits of the machine; those whose work or limit is unknown are left out."""
    limit = limits(record.ceilings)
    found = []
    for case in cases:
        middle = summarize(case).median
        if case.work is None or case.unit not in _TIMES or middle <= 0.0:
            continue
        product = product_of(case.contender)
        least = least_seconds(case.work, product, limit)
        if least is not None:
            reading = case.work.bytes / (limit["memory"] * 1e9) if case.work.bytes > 0 else 0.0
            by: CeilingName = "memory" if reading >= least else product
            found.append(Share(case, least / (middle * _TIMES[case.unit]), by))
    return found


def standings(record: Record, subject: str) -> list[Standing]:
    """Put speed and quality of a subject's contenders together; those of which one is unknown are left out.

    The reference is 1 times as quick as itself.
    """
    timed = [case for case in record.cases if case.subject == subject and case.group == "latency"]
    name = reference_of(record, timed[0]) if timed else ""
    speeds: dict[str, list[float]] = {}
    for beside in beside_reference(record, timed):
        speeds.setdefault(beside.case.contender, []).append(beside.ratio.middle)
    if any(case.contender == name for case in timed):
        speeds[name] = [1.0]
    found = []
    for contender in contenders(record):
        asked = [case.quality for case in record.cases if (case.subject, case.contender) == (subject, contender)]
        known = [quality for quality in asked if quality is not None]
        if contender in speeds and min(speeds[contender]) > 0.0 and (known or contender == name):
            speed = math.exp(float(np.mean(np.log(speeds[contender]))))
            found.append(Standing(contender, speed, _worst(known) if known else Quality(same_label=1.0, cosine=1.0)))
    return found


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Say of points, of which more is better in both, whether no other one is at least as good in both.

    Of equal points all or none are on the front.
    """
    return [
        not any(other != point and other[0] >= point[0] and other[1] >= point[1] for other in points)
        for point in points
    ]


def _are_pairs(case: Case, other: Case) -> bool:
    return (case.unit, case.better, len(case.rounds)) == (other.unit, other.better, len(other.rounds))


def _badness(case: Case) -> float:
    middle = summarize(case).median
    return middle if case.better == "less" else -middle


def _worst(known: Sequence[Quality]) -> Quality:
    labels = [one.same_label for one in known if one.same_label is not None]
    cosines = [one.cosine for one in known if one.cosine is not None]
    differences = [one.difference for one in known if one.difference is not None]
    return Quality(
        same_label=min(labels, default=None),
        cosine=min(cosines, default=None),
        difference=max(differences, default=None),
    )
