"""Records of benchmarks that nobody ran, for tests of what is made of them."""

from __future__ import annotations

import numpy as np

from ortolan.bench.records import (
    Better,
    Case,
    Ceiling,
    Group,
    Missing,
    Quality,
    Record,
    Run,
    Unit,
    Work,
)

RUN = Run(
    commit="abc1234",
    started="2026-01-02T03:04:05+00:00",
    processor="Fast CPU",
    cpu_features=("avx2", "avx512_vnni"),
    threads=2,
    system="Linux x86_64",
    versions={"ortolan": {"onnxruntime": "1.22.0"}, "eager": {"torch": "2.9.0"}},
    settings={"rounds": 7},
)

CASE = Case(
    group="latency",
    subject="tiny",
    case="1x128",
    contender="Ortolan int8",
    unit="ms",
    better="less",
    rounds=((1.0, 2.0), (3.0,)),
    load_average=0.5,
)

CONTENDERS = {
    "Ortolan int8": (5.0, 0.99981, 0.985),
    "Ortolan fp32": (1.6, 0.9999999, 1.0),
    "eager fp32": (1.0, None, None),
    "eager bf16": (1.4, 0.99993, 0.992),
    "torch.compile": (1.25, 1.0, 1.0),
    "optimum ORT": (1.5, 0.9999999, 1.0),
    "optimum ORT int8": (3.9, 0.9987, 0.97),
    "OpenVINO fp32": (1.65, 0.999999, 1.0),
    "OpenVINO NNCF int8": (5.3, 0.9979, 0.95),
    "ONNX Runtime bare": (1.45, 0.9999999, 1.0),
}
"""Invented: times as quick as eager, cosine, share of equal labels."""

SUBJECT = "DistilBERT-base, random weights, real size"


def full_record() -> Record:
    """A record with all that can be drawn; its numbers are drawn from a seed, and nobody measured them."""
    draw = np.random.default_rng(0)

    def rounds(middle: float, noise: float = 0.05, count: int = 7) -> tuple[tuple[float, ...], ...]:
        return tuple(map(tuple, (middle * np.exp(noise * draw.standard_normal((count, 5)))).tolist()))

    cases = []
    for name, (speed, cosine, label) in CONTENDERS.items():
        quality = None if cosine is None else Quality(same_label=label, cosine=cosine, difference=1e-3)
        for shape in ("1x16", "1x64", "1x128", "1x256", "1x512", "8x128", "32x128"):
            rows, length = map(int, shape.split("x"))
            tokens = rows * length
            ms = 3 + 70 * (tokens / 128) ** 0.9 / speed
            case = Case(
                group="latency" if rows == 1 else "throughput",
                subject=SUBJECT,
                case=shape,
                contender=name,
                unit="ms",
                better="less",
                rounds=rounds(ms),
                load_average=1.9,
                work=Work(flops=2 * 43e6 * tokens, bytes=43e6 * (1 if "int8" in name else 4)),
                quality=quality if shape == "1x128" else None,
            )
            cases.append(case)
        others: tuple[tuple[Group, str, Unit, Better, float], ...] = (
            ("mixed", "500 reviews", "tok/s", "more", 4000 * speed),
            ("tokenization", "1000 reviews", "tok/s", "more", 900_000 * speed),
            ("cold start", "first answer", "s", "less", 4.1 / speed),
            ("memory", "8x128", "MB", "less", 700 - 90 * speed),
        )
        for group, what, unit, better, middle in others:
            cases.append(
                Case(
                    group=group,
                    subject=SUBJECT,
                    case=what,
                    contender=name,
                    unit=unit,
                    better=better,
                    rounds=rounds(middle, count=1 if group == "memory" else 5),
                    load_average=2.1,
                )
            )
    ceilings = (
        Ceiling(name="fp32 product", unit="GFLOP/s", samples=(210.0, 205.0, 190.0)),
        Ceiling(name="bf16 product", unit="GFLOP/s", samples=(400.0, 380.0)),
        Ceiling(name="int8 product", unit="GOP/s", samples=(820.0, 815.0)),
        Ceiling(name="memory", unit="GB/s", samples=(21.0, 22.5)),
    )
    missing = (
        Missing(subject="", contender="CTranslate2 int8", reason="it has no converter for <DistilBertModel> & heads"),
        Missing(subject=SUBJECT, contender="fastembed", reason="it serves embeddings alone"),
    )
    return Record(RUN, ceilings, tuple(cases), missing)
