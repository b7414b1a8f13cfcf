from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from ortolan import ConfigError
from ortolan.choice import Choice, Way
from ortolan.machine import Machine
from ortolan.tune.files import write_report
from ortolan.tune.measurements import Measurements
from ortolan.tune.plot import to_svg
from ortolan.tune.report import TunedWay, TuneReport, tuned_ways
from tests.engine.fake_bench import FP32, FP32_ALONE, INT8, INT8_ALONE, MANIFEST, SHAPES, WAYS, FakeBench, search

UNTRIED = Way("fp32", "packed", ("SkipLayerNormFusion",), 1)
BROKEN = Way("int8", "packed", ("SkipLayerNormFusion",), 1)


@pytest.fixture(scope="module")
def notes() -> Measurements:
    """INT8 is untuned and takes 4 ms, INT8_ALONE 2 ms, FP32 8 ms; BROKEN has a fault."""
    made = Measurements({})
    bench = FakeBench({INT8: 4.0, FP32: 8.0, INT8_ALONE: 2.0, FP32_ALONE: 16.0}, faults={BROKEN: "answers differ"})
    search(bench, (*WAYS, BROKEN), notes=made).run()
    return made


@pytest.fixture(scope="module")
def report(notes: Measurements) -> TuneReport:
    return TuneReport(
        artifact="tiny-bert",
        provider="cpu",
        machine=Machine("A & B <1>", ("avx2",), 2, "Linux x86_64", "onnxruntime 1.32.0"),
        prefer="latency",
        shapes=tuple(SHAPES),
        measure="labels",
        seconds=12.0,
        num_texts=0,
        untuned=INT8,
        choice=Choice(INT8_ALONE, "because"),
        choice_file="/cache/tune/a-b-cpu.json",
        ways=tuple(tuned_ways((*WAYS, UNTRIED, BROKEN), notes, MANIFEST, SHAPES)),
    )


def row(report: TuneReport, way: Way) -> TunedWay:
    return next(one for one in report.ways if one.way == way)


def test_ways_are_sorted_by_speed_then_untried_then_faulty(report: TuneReport):
    assert [one.way for one in report.ways] == [INT8_ALONE, INT8, FP32, FP32_ALONE, UNTRIED, BROKEN]


def test_times_are_those_of_the_untuned_way_divided_by_the_speed(report: TuneReport):
    one = row(report, INT8_ALONE)
    assert (one.speed, one.milliseconds["1 x 16"], one.tokens_per_second) == (
        pytest.approx(2.0),
        pytest.approx(2.0),
        pytest.approx(8 * 32 / 0.002),
    )


def test_a_way_that_was_not_tried_has_no_times(report: TuneReport):
    one = row(report, UNTRIED)
    assert (one.looks, one.speed, one.milliseconds, one.tokens_per_second, one.fault) == (0, None, {}, None, None)


def test_a_way_with_a_fault_says_which(report: TuneReport):
    assert (row(report, BROKEN).fault, row(report, BROKEN).is_on_front) == ("answers differ", False)


def test_the_front_is_marked(report: TuneReport):
    # quality is the same for all here, and int8 on one thread is the quickest and smallest
    assert [one.way for one in report.ways if one.is_on_front] == [INT8_ALONE]


def test_memory_is_that_of_the_graph(report: TuneReport):
    assert [row(report, way).memory_bytes for way in (INT8, BROKEN, FP32)] == [40_000_000, 40_000_000, 100_000_000]


def test_the_table_has_a_line_for_each_way(report: TuneReport):
    lines = [" ".join(line.split()) for line in report.to_text().splitlines()]
    assert lines[:9] == [
        "tiny-bert on cpu: A & B <1>, 2 threads, onnxruntime 1.32.0",
        "",
        "precision attention left out threads 1 x 16 ms 1 x 128 ms 8 x 32 tokens/s memory MB same labels speed looks",
        ">* int8 packed nothing 1 2 2 128,000 40 100.00% 2.00 16",
        "int8 packed nothing 2 4 4 64,000 40 100.00% 1.00 34",
        "fp32 packed nothing 2 8 8 32,000 100 100.00% 0.50 16",
        "fp32 packed nothing 1 16 16 16,000 100 100.00% 0.25 1",
        "fp32 packed SkipLayerNormFusion 1 - - - 100 100.00% - 0",
        "! int8 packed SkipLayerNormFusion 1 - - - 40 100.00% - 0",
    ]


def test_the_columns_of_the_table_are_aligned(report: TuneReport):
    table = report.to_text().splitlines()[2:9]
    assert [line.find("int8") for line in table if "int8" in line] == [4, 4, 4]
    assert len({len(line) for line in table}) == 1


def test_the_table_explains_itself(report: TuneReport):
    assert report.to_text().splitlines()[10:] == [
        "> chosen   * on the Pareto front of latency, throughput, memory and quality   ! has a fault",
        "speed: how many times as quick with single texts as int8, attention packed, 2 threads",
        "! int8, attention packed, 1 thread, without SkipLayerNormFusion: answers differ",
        "time was up before 1 of 6 ways were tried: run it again to go on",
        "only the attention form chosen at export is here: 'ortolan export --tune' keeps the others too",
        "chosen for latency: int8, attention packed, 1 thread",
    ]


def test_a_fault_of_several_ways_has_one_line(report: TuneReport):
    ways = tuple(replace(one, fault="it broke") if one.way.precision == "fp32" else one for one in report.ways)
    assert "! fp32, attention packed, 2 threads and 2 more: it broke" in replace(report, ways=ways).to_text()


def test_the_table_shows_agreement_on_texts_where_there_were_some(report: TuneReport):
    ways = tuple(replace(one, agreement=0.75) for one in report.ways)
    text = replace(report, ways=ways, num_texts=20).to_text()
    assert ("your texts" in text, "75.00%" in text, "of 20" in text) == (True, True, True)


def test_quality_of_vectors_is_shown_as_cosine(report: TuneReport):
    text = replace(report, measure="cosine").to_text()
    assert ("cosine" in text, "1.00000" in text) == (True, True)


def test_the_report_becomes_json_that_any_reader_takes(report: TuneReport):
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["choice"]["way"] == {
        "precision": "int8",
        "attention": "packed",
        "disabled_optimizers": [],
        "num_threads": 1,
    }


# The picture

SVG = "{http://www.w3.org/2000/svg}"


def words(svg: str) -> list[str]:
    return [str(text.text) for text in ET.fromstring(svg).iter(f"{SVG}text")]


def test_the_picture_is_xml_whatever_the_names(report: TuneReport):
    assert words(to_svg(report))[0] == "tiny-bert on cpu: A & B <1>, 2 threads, onnxruntime 1.32.0"


def test_the_picture_has_a_dot_for_each_way_that_was_timed(report: TuneReport):
    titles = [title.text for title in ET.fromstring(to_svg(report)).iter(f"{SVG}title")]
    assert sorted(map(str, titles)) == sorted(str(way) for way in (INT8, INT8_ALONE, FP32, FP32_ALONE))


def test_the_picture_has_a_ring_around_the_choice(report: TuneReport):
    rings = [one for one in ET.fromstring(to_svg(report)).iter(f"{SVG}circle") if one.get("class") == "pick"]
    assert len(rings) == 2  # and one in the legend


def test_the_picture_says_what_is_faulty(report: TuneReport):
    assert "1 of 3 ways have a fault: answers differ" in words(to_svg(report))


def test_the_picture_has_at_least_three_ticks_even_for_equal_times(report: TuneReport):
    only = replace(report, ways=tuple(one for one in report.ways if one.way == INT8_ALONE))
    assert len([text for text in words(to_svg(only)) if text.endswith(" ms")]) >= 3


def test_everything_in_the_picture_lies_inside_it(report: TuneReport):
    root = ET.fromstring(to_svg(report))
    _, _, width, height = map(float, str(root.get("viewBox")).split())
    places = [(float(str(one.get("x"))), float(str(one.get("y")))) for one in root.iter(f"{SVG}text")]
    assert all(0 <= x <= width and 0 <= y <= height for x, y in places)


# Files


def test_a_report_has_three_files(report: TuneReport, tmp_path: Path):
    write_report(report, tmp_path / "new" / "folder")
    names = [path.name for path in (tmp_path / "new" / "folder").iterdir()]
    assert sorted(names) == ["tune.json", "tune.svg", "tune.txt"]


def test_a_report_that_cannot_be_written_is_an_error(report: TuneReport, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="it cannot be written .*; choose another folder"):
        write_report(report, tmp_path / "file")
