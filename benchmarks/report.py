"""Puts the numbers of the records in benchmarks/records/ into the README and docs/numbers.md: made, never typed.

cp benchmarks/out/*.json benchmarks/records/
rm benchmarks/records/bench_*.jsonl && cp benchmarks/out/bench.jsonl benchmarks/records/bench_1.jsonl
python -m benchmarks.report
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.batch_invariance import invariance_table
from benchmarks.engine_load_tables import (
    carried_table,
    overload_table,
    rates_table,
    read_carried,
    read_overload,
    verdicts,
)
from benchmarks.engine_memory import PLOT as MEMORY_PLOT
from benchmarks.engine_memory import memory_line
from benchmarks.engine_overhead import overhead_table
from benchmarks.peer_tables import Likeness, Result, race_table, verdict
from benchmarks.peers import OURS, RIVALS
from benchmarks.pipeline_overhead import pipeline_table
from benchmarks.real_generation import generation_table
from benchmarks.real_quality import quality_table
from benchmarks.suite.summary import losses_table, num_lost, speed_plot, summary_table
from benchmarks.tables import table
from benchmarks.writing_company import company_table
from benchmarks.writing_load import load_lines
from benchmarks.writing_memory import PLOT as WRITING_PLOT
from benchmarks.writing_memory import formula_line
from benchmarks.writing_memory import memory_line as writing_line
from benchmarks.writing_speed import speed_table
from ortolan.bench.findings import in_order
from ortolan.bench.records import Record, read_record
from ortolan.bench.report import markdown_table
from ortolan.timing import Times

RECORDS = Path(__file__).parent / "records"
ROOT = Path(__file__).parents[1]
SUITE = "bench_*"
"""Records of the suite: a full run takes more than an hour, and may be made in parts, which share no case."""

SUITE_PLOT = ROOT / "docs" / "bench.svg"
README, PAGE = ROOT / "README.md", ROOT / "docs" / "numbers.md"
BEGIN, END = "<!-- numbers: made by benchmarks/report.py -->", "<!-- end of numbers -->"


def main() -> int:
    """Rewrite what stands between the two marks of each page, and the plot that the README shows."""
    for page, made in PAGES.items():
        page.write_text(with_numbers(page.read_text(encoding="utf-8"), made()), encoding="utf-8")
    SUITE_PLOT.write_text(speed_plot(suite_record()), encoding="utf-8")
    return 0


def with_numbers(text: str, numbers: str) -> str:
    """Put numbers between the two marks of a text."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{numbers}\n\n{END}{after}"


def in_short() -> str:
    """What the README tells."""
    return "\n\n".join(_told(IN_SHORT))


def at_length() -> str:
    """Everything else, by what it is about."""
    sections = {title: _told(parts) for title, parts in AT_LENGTH.items()}
    text = "\n\n".join(f"## {title}\n\n" + "\n\n".join(told) for title, told in sections.items() if told)
    return text.replace("](docs/", "](")  # the page is in docs itself


def _told(parts: Mapping[str, Callable[[], str]]) -> list[str]:
    return [part() for name, part in parts.items() if any(RECORDS.glob(f"{name}.json*"))]


def read(name: str) -> dict[str, Any]:
    """Read a record."""
    document: dict[str, Any] = json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))
    return document


def rows(record: dict[str, Any]) -> dict[str, dict[str, Times]]:
    """Times of each case and contender in a record."""
    return {case: {name: Times(runs) for name, runs in found.items()} for case, found in record["cases"].items()}


def source(record: dict[str, Any]) -> str:
    """Name the script, the machine and the versions of a record."""
    name, found = record["benchmark"], record["environment"]
    versions = ", ".join(f"{key} {found['versions'][key]}" for key in ("torch", "transformers", "onnxruntime"))
    return (
        f"`python -m benchmarks.{name}`, record `benchmarks/records/{name}.json`: {found['processor']}, "
        f"{found['threads']} cores of a shared machine, {versions}."
    )


def worst(record: dict[str, Any]) -> str:
    """Say how slow the slowest twentieth of the int8 calls was."""
    tails = [f"{times['Ortolan int8'].p95:.1f} at {case}" for case, times in rows(record).items()]
    return "95th percentile of int8, milliseconds: " + ", ".join(tails) + "."


def accuracy() -> str:
    """How right the default model is."""
    found = read("demo")["settings"]["accuracy"]
    shown = ", ".join(f"{name} {found[name]:.4f}" for name in ("torch", "fp32", "int8"))
    return f"The default model, on {found['texts']} held-out sentences (`make demo`): accuracy {shown}."


def default_model() -> str:
    """Speed of the default model, as `make demo` takes it."""
    record = read("demo")
    return (
        "The default model, median milliseconds, and in brackets how many times as quick as eager fp32:\n\n"
        f"{table('MiniLM-L6, real weights', rows(record), 'eager fp32')}\n\n{worst(record)}\n{source(record)}"
    )


def distilbert() -> str:
    """Speed at the size of DistilBERT-base."""
    record = read("encoder_latency")
    return (
        f"{table('DistilBERT-base, random weights, B x S', rows(record), 'eager fp32')}\n\n"
        f"{worst(record)}\n{source(record)}"
    )


def peers() -> str:
    """Speed beside other tools, each in an environment of its own."""
    record = read("peers")
    settings = record["settings"]
    tables = []
    for name, title in settings["models"].items():
        times = {case.removeprefix(f"{name} "): of for case, of in rows(record).items() if case.startswith(f"{name} ")}
        likeness = {one: Likeness(**like) for one, like in settings["likeness"][name].items()}
        race = Result(likeness, times, settings["missing"][name])
        lines = [race_table(title, race, OURS), "", *(f"- {verdict(race, OURS, rivals)}" for rivals in RIVALS)]
        tables.append("\n".join(lines))
    head = (
        "Beside other tools, in one run, the contenders taking turns: median milliseconds, in brackets how many times "
        f"as quick {OURS} is. Answers are compared with torch's on {settings['sentences']} sentences."
    )
    return "\n\n".join([head, *tables, source(record)])


def quality() -> str:
    """What each precision costs on real weights."""
    record = read("real_quality")
    return f"What each precision costs on real weights:\n\n{quality_table(record['cases'])}\n\n{source(record)}"


def generation() -> str:
    """Whether real models write what they write in torch."""
    record = read("real_generation")
    head = (
        "What real models write: a BART and a T5 that pronounce English words, and SmolLM2-135M-Instruct on ten "
        "prompts and a page of prose; greedily, one text at a time:"
    )
    return f"{head}\n\n{generation_table(record['cases'])}\n\n{source(record)}"


def sharing() -> str:
    """What a text's result owes to the texts beside it."""
    record = read("batch_invariance")
    settings = record["settings"]
    head = (
        f"Who shares a batch: how far the probabilities of {settings['texts']} texts move when "
        f"{settings['neighbours']} others are in the batch, and what it costs to let each run alone:"
    )
    return f"{head}\n\n{invariance_table(record['cases'])}\n\n{source(record)}"


def company() -> str:
    """What a text that is written owes to the texts beside it."""
    record = read("writing_company")
    settings = record["settings"]
    head = (
        f"Who is written side by side: real weights, as if there were no gate, each text alone and with up to "
        f"{settings['side by side'] - 1} others that come and go. Logits are those of texts that are there already, in "
        f"batches of {settings['side by side']}; distances are means, as shares of the spread of the logits of a place:"
    )
    return f"{head}\n\n{company_table(record['cases'])}\n\n{source(record)}"


def pipeline_overhead() -> str:
    """What a pipeline takes beside the run of the graph."""
    record = read("pipeline_overhead")
    head = "What a pipeline takes beside the run of the graph, for one text:"
    found = {task: Times(runs) for task, runs in record["cases"]["overhead"].items()}
    return f"{head}\n\n{pipeline_table(found, record['settings']['tokens'])}\n\n{source(record)}"


def cold_start() -> str:
    """What a new process pays."""
    record = read("cold_start")
    lines = ["| in a new process | median s | median peak MB |", "| --- | --- | --- |"]
    for name, runs in record["cases"].items():
        seconds, peaks = zip(*runs, strict=True)
        lines.append(f"| {name} | {statistics.median(seconds):.3f} | {statistics.median(peaks) / 1e6:.0f} |")
    return "\n".join(lines) + "\n\n" + source(record)


def batching() -> str:
    """What the token budget of a batch is worth."""
    record = read("list_batching")
    found = rows(record)
    budgets = list(next(iter(found.values())))
    lines = ["| tokens a batch | " + " | ".join(found) + " |", "| --- |" + " --- |" * len(found)]
    lines += [
        f"| {budget} | " + " | ".join(f"{times[budget].median:.0f}" for times in found.values()) + " |"
        for budget in budgets
    ]
    title = f"{record['settings']['sentences']} sentences in a list, median milliseconds; 256 is what a pipeline uses:"
    return f"{title}\n\n" + "\n".join(lines) + "\n\n" + source(record)


def engine_load() -> str:
    """How many requests a second a service carries."""
    record = read("engine_load")
    settings = record["settings"]
    head = (
        "How many requests a second a service carries, if 99 of 100 answers shall come within "
        f"{settings['late_ms']:.0f} ms of the moment at which the request was due (Poisson arrivals; medians and range "
        f"of {settings['rounds']} rounds; `sentences` are held-out ones of the default model, `bimodal` has a fifth of "
        "them put together to about 128 tokens):"
    )
    parts = [head]
    for model, about in settings["models"].items():
        found = {name.removeprefix(f"{model} "): case for name, case in record["cases"].items() if _is_of(name, model)}
        carried = {mix: read_carried(case["carried"]) for mix, case in found.items()}
        overload = {mix: read_overload(case["overload"]) for mix, case in found.items()}
        parts.append(carried_table(about["title"], carried))
        parts.append("\n".join(f"- {line}" for line in verdicts(carried)))
        parts.append(f"A fifth more than it carries, with a deadline and without:\n\n{overload_table(overload)}")
    return "\n\n".join([*parts, source(record)])


def engine_rates() -> str:
    """Latency by the rate that is offered."""
    record = read("engine_load_rates")
    head = "Latency by the rate that is offered ([plot](docs/engine-load.svg)):"
    made = source(record).replace("benchmarks.engine_load_rates", "benchmarks.engine_load --rates")
    return f"{head}\n\n{rates_table(record['cases'])}\n\n{made}"


def engine_overhead() -> str:
    """What the engine costs a request when there is little to do."""
    record = read("engine_overhead")
    return f"What the engine costs a request:\n\n{overhead_table(record['cases'])}\n\n{source(record)}"


def engine_memory() -> str:
    """Whether memory grows."""
    record = read("engine_memory")
    line = memory_line(record["settings"]["requests"], record["cases"]["resident_bytes"])
    return f"{line} [Plot](docs/{MEMORY_PLOT.name}).\n\n{source(record)}"


def writing_speed() -> str:
    """How fast texts are written, beside other tools."""
    record = read("writing_speed")
    settings = record["settings"]
    head = (
        "How fast texts are written, 32 tokens read and 64 written, random weights of real size: tokens a second, in "
        "brackets how many times as quick Ortolan int8 is in the median round. All contenders in one run, in turns:"
    )
    lost = [f"{name} of {model}: {why}" for model, of in settings["missing"].items() for name, why in of.items()]
    alike = min(settings["alike"].values())
    tail = f"Of the tokens that fp32 writes, at least {alike:.1%} are torch's."
    missing = f" Missing: {'; '.join(lost)}." if lost else ""
    return f"{head}\n\n{speed_table(settings['tokens'], rows(record))}\n\n{tail}{missing}\n\n{source(record)}"


def writing_load() -> str:
    """What it is worth that texts come and go."""
    record = read("writing_load")
    lines = "\n".join(load_lines(record["cases"]))
    head = f"GPT-2 in int8, random weights, {record['settings']['rate']:.0f} requests a second:"
    return f"{head}\n\n{lines}\n\n{source(record)}"


def writing_memory() -> str:
    """Whether texts leave the memory where it was."""
    record = read("writing_memory")
    line = writing_line(record["settings"]["texts"], record["cases"]["resident_bytes"])
    formula = formula_line(record["cases"]["cache"])
    return f"{line} [Plot](docs/{WRITING_PLOT.name}). {formula}\n\n{source(record)}"


def suite_record() -> Record:
    """Put the parts of a full run of the suite together; each case is of one of them."""
    parts = [read_record(path) for path in _parts()]
    joined = Record(
        replace(parts[0].run, commit=", ".join(dict.fromkeys(part.run.commit for part in parts))),
        ceilings=tuple(line for part in parts for line in part.ceilings),
        cases=tuple(line for part in parts for line in part.cases),
        missing=tuple(dict.fromkeys(line for part in parts for line in part.missing)),
    )
    return in_order(joined)


def suite() -> str:
    """What the suite found, in short."""
    record, parts = suite_record(), _parts()
    run = record.run
    head = (
        "The suite, the contenders of a case taking turns in one run: medians, and how many times as good as the "
        "reference, and as the best of the others, Ortolan is, with 95 % intervals; what it loses is bold "
        f"([plot](docs/{SUITE_PLOT.name})):"
    )
    command = f"make bench{'-full' * (run.settings['suite'] == 'full')}"
    named = ", ".join(f"`benchmarks/records/{path.name}`" for path in parts)
    tail = (
        f"`{command}`{' in parts' * (len(parts) > 1)}, {named}, at {run.commit}: {run.processor}, {run.threads} cores "
        f"of a shared machine, {run.settings['rounds']} rounds. In {num_lost(record)} cases, heads of other tasks "
        "and more shapes and rates among them, somebody is better than the best of Ortolan beyond noise: "
        "[docs/numbers.md](docs/numbers.md) lists them, and has every contender and those that are missing."
    )
    return f"{head}\n\n{summary_table(record)}\n\n{tail}"


def every_contender() -> str:
    """What the suite found, at length, and what was not measured."""
    return markdown_table(suite_record()).strip()


def every_loss() -> str:
    """Where the suite found somebody better than the best of Ortolan."""
    return losses_table(suite_record())


def _parts() -> list[Path]:
    return sorted(RECORDS.glob(f"{SUITE}.jsonl"))


def _is_of(case: str, model: str) -> bool:
    return case.startswith(f"{model} ")


IN_SHORT = {SUITE: suite, "demo": accuracy}
"""What is made of each record, or of those that a pattern matches, in the order of the README."""

AT_LENGTH = {
    "Where others are better in the suite": {SUITE: every_loss},
    "The suite, contender by contender": {SUITE: every_contender},
    "Texts that are read": {
        "demo": default_model,
        "encoder_latency": distilbert,
        "peers": peers,
        "list_batching": batching,
        "pipeline_overhead": pipeline_overhead,
    },
    "What precisions cost": {"real_quality": quality, "real_generation": generation},
    "Who shares a batch": {"batch_invariance": sharing, "writing_company": company},
    "A new process": {"cold_start": cold_start},
    "A service": {
        "engine_load": engine_load,
        "engine_load_rates": engine_rates,
        "engine_overhead": engine_overhead,
        "engine_memory": engine_memory,
    },
    "Texts that are written": {
        "writing_speed": writing_speed,
        "writing_load": writing_load,
        "writing_memory": writing_memory,
    },
}
"""The same for docs/numbers.md, by heading."""

PAGES = {README: in_short, PAGE: at_length}


if __name__ == "__main__":
    sys.exit(main())
