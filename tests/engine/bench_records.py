"""Records of benchmarks that nobody ran, for tests of what is made of them."""

from __future__ import annotations

from ortolan.bench.records import Case, Run

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
