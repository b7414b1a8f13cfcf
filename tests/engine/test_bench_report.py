import csv
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ortolan.bench.charts import LETTER, WIDTH, looks
from ortolan.bench.findings import (
    beside_reference,
    front,
    in_order,
    losses,
    reference,
    shape_of,
    shares,
    standings,
    tokens_a_second,
)
from ortolan.bench.plots import plots
from ortolan.bench.records import Case, Ceiling, Missing, Quality, Record, Work
from ortolan.bench.report import html_page, markdown_table, write_csv, write_report
from ortolan.errors import ConfigError
from tests.engine.bench_records import CASE, CONTENDERS, RUN, SUBJECT, full_record

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def full() -> Record:
    return full_record()


def case(contender: str, ms: float = 4.0, **others: object) -> Case:
    return replace(CASE, contender=contender, **{"rounds": ((ms,),) * 7, **others})


class Page(HTMLParser):
    """Collects what a page refers to, and whether its tags are closed in order."""

    VOID = ("meta", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [str(value) for name, value in attrs if name in ("src", "href", "onclick", "onload")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_but_itself(full: Record):
    page = Page()
    text = html_page(full)
    page.feed(text)
    assert page.open == []
    assert page.references == []
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert "url(" not in text
    assert "@import" not in text
    assert page.tags.count("svg") == len(plots(full)) > 10


def test_the_page_is_made_for_the_dark_and_for_paper(full: Record):
    text = html_page(full)
    assert "@media screen and (prefers-color-scheme: dark)" in text
    assert "@media print" in text


def test_every_contender_measured_or_missing_is_on_the_page(full: Record):
    text = html_page(full)
    for name in [*CONTENDERS, "CTranslate2 int8", "fastembed"]:
        assert f"<td>{name}</td>" in text
    assert "it has no converter for &lt;DistilBertModel&gt; &amp; heads" in text


def test_the_page_says_what_it_was_measured_with(full: Record):
    text = html_page(full, ["Half of it is <padding>."])
    for word in ("Fast CPU", "avx512_vnni", "abc1234", "torch 2.9.0", "22.5 GB/s", "Half of it is &lt;padding&gt;."):
        assert word in text


def test_where_others_are_better_is_told(full: Record):
    text = html_page(full)
    told = text[text.index("Where others are better") : text.index("<h2>All contenders: ")]
    assert "OpenVINO NNCF int8" in told
    assert "optimum ORT int8" not in told


def test_every_plot_is_well_formed_and_has_a_title(full: Record):
    titles = [plot.title for plot in plots(full)]
    for plot in plots(full):
        assert ET.fromstring(plot.svg).get("aria-label")
    assert titles[0] == f"Latency by length: {SUBJECT}"
    assert len(set(titles)) == len(titles)
    for start in ("Throughput by batch", "How many times as good as eager fp32, latency", "Quality of outputs against"):
        assert any(title.startswith(start) for title in titles)
    for start in ("Share of the machine's limit", "Cold start", "Memory"):
        assert any(title.startswith(start) for title in titles)


def widths(svg: str) -> list[tuple[float, float, float]]:
    """Left end, right end and base line of every text, as wide as a wide font makes it."""
    found = []
    for one in ET.fromstring(svg).iter(f"{SVG}text"):
        if one.get("class") == "rim":
            continue  # lies under the text that it surrounds
        x, y, width = float(one.get("x", 0)), float(one.get("y", 0)), LETTER * len(one.text or "")
        start = {"start": x, "middle": x - width / 2, "end": x - width}[one.get("text-anchor", "start")]
        found.append((start, start + width, y))
    return found


def test_no_text_leaves_the_picture_or_meets_another(full: Record):
    for plot in plots(full):
        texts = widths(plot.svg)
        for number, (left, right, y) in enumerate(texts):
            assert left >= -2, plot.title
            assert right <= WIDTH + 2, plot.title
            for other_left, other_right, other_y in texts[number + 1 :]:
                assert abs(y - other_y) >= 10 or right <= other_left or other_right <= left, plot.title


def test_a_long_name_is_cut_and_whole_in_its_tooltip():
    name = "a contender with a name that no margin is wide enough for"
    record = Record(RUN, cases=(case("eager"), case(name, group="memory", unit="MB")))
    [plot] = [plot for plot in plots(record) if plot.title.startswith("Memory")]
    assert "a contender with a name that no m…" in plot.svg
    assert f"<title>{name}: 4 MB, p95 4</title>" in plot.svg


def test_no_two_contenders_look_alike():
    found = looks(map(str, range(56)))
    assert len({(look.colour, look.mark) for look in found.values()}) == 56


HOSTILE = "\"><script>alert(1)</script><b onload=x>&' | `x` \n\x00"


def test_text_of_a_record_stays_text():
    record = Record(
        replace(RUN, processor=HOSTILE, settings={HOSTILE: HOSTILE}, versions={HOSTILE: {HOSTILE: HOSTILE}}),
        (Ceiling(name="memory", unit=HOSTILE, samples=(1.0,)),),
        tuple(
            case(name, subject=HOSTILE, case=shape, quality=Quality(cosine=0.5, same_label=0.5))
            for name in (HOSTILE, "eager" + HOSTILE)
            for shape in ("1x16", "1x32", HOSTILE)
        ),
        (Missing(subject=HOSTILE, contender=HOSTILE, reason=HOSTILE),),
    )
    page = Page()
    page.feed(html_page(record, [HOSTILE]))
    assert page.open == []
    assert page.references == []
    assert not {"script", "b"} & set(page.tags)
    assert "\x00" not in html_page(record)
    for plot in plots(record):
        ET.fromstring(plot.svg)
    assert "<script" not in markdown_table(record)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.text(max_size=8), st.floats(1e-6, 1e9)), max_size=6))
def test_any_record_makes_a_page_and_pictures(found: list[tuple[str, float]]):
    cases = [
        case(name, ms, case=shape, quality=Quality(cosine=0.9, same_label=0.9), work=Work(flops=1.0, bytes=ms))
        for name, ms in dict(found).items()
        for shape in ("1x8", "4x8", "all")
    ]
    record = Record(RUN, (Ceiling(name="memory", unit="GB/s", samples=(1.0,)),), tuple(cases))
    page = Page()
    page.feed(html_page(record))
    assert page.open == []
    for plot in plots(record):
        ET.fromstring(plot.svg)


def test_an_empty_record_makes_a_page_that_says_so():
    text = html_page(Record(RUN))
    assert "Benchmark of nothing" in text
    assert "They were not measured." in text
    assert markdown_table(Record(RUN)) == "\n"


def test_many_subjects_are_counted_in_the_title():
    cases = tuple(case("eager", subject=name) for name in "abcde")
    assert "<title>Benchmark of a; b; c; and 2 more</title>" in html_page(Record(RUN, cases=cases))


def test_nothing_carried_is_drawn_as_nothing():
    record = Record(RUN, cases=tuple(case(name, 0.0, group="load", unit="req/s", better="more") for name in "ab"))
    assert ET.fromstring(plots(record)[-1].svg) is not None


def test_the_markdown_table_has_medians_ratios_and_what_is_missing():
    record = Record(
        RUN,
        cases=(case("eager fp32", 10.0), case("Ortolan int8", 2.5), case("eager fp32", 40.0, case="8x128")),
        missing=(Missing(subject="", contender="a|b", reason="no\nwheel"),),
    )
    assert markdown_table(record) == (
        "| tiny, latency | 1x128, ms | 8x128, ms |\n"
        "| --- | --- | --- |\n"
        "| Ortolan int8 | 2.5 (4.00, 4.00 to 4.00) |  |\n"
        "| eager fp32 | 10 | 40 |\n"
        "\n"
        "Medians; in brackets how many times as good as eager fp32, with a 95 % interval.\n"
        "\n"
        "| missing | of | why |\n"
        "| --- | --- | --- |\n"
        "| a\\|b | all | no wheel |\n"
    )


def test_cases_stand_in_the_order_of_their_numbers():
    names = ["1x128", "8x32", "1x16", "load", "9", "import", "100 texts", "1x8"]
    record = Record(RUN, cases=tuple(replace(CASE, case=name) for name in names))
    head = markdown_table(record).splitlines()[0]
    assert re.findall(r"\| ([^|]+), ms", head) == ["load", "import", "1x8", "1x16", "1x128", "8x32", "9", "100 texts"]
    others = replace(record, cases=(replace(CASE, group="load", case="9"), *record.cases))
    assert [case.group for case in in_order(others).cases][:2] == ["load", "latency"]


def test_the_csv_file_has_a_line_for_each_case(tmp_path: Path):
    record = Record(
        RUN, cases=(case("eager", 10.0), case("Ortolan, int8", 2.5, quality=Quality(cosine=0.5), rows=1, tokens=128))
    )
    write_csv(record, tmp_path / "bench.csv")
    with (tmp_path / "bench.csv").open(newline="", encoding="utf-8") as stream:
        first, second = csv.DictReader(stream)
    assert (first["contender"], first["median"], first["reference"], first["ratio"]) == ("eager", "10.0", "", "")
    assert (second["contender"], second["reference"], second["ratio"]) == ("Ortolan, int8", "eager", "4.0")
    assert (second["cosine"], second["same_label"], second["tokens"], second["rounds"]) == ("0.5", "", "128", "7")


def test_a_report_is_three_files(tmp_path: Path, full: Record):
    write_report(full, tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"report.html", "report.md", "report.csv"}


def test_a_report_cannot_be_written_where_a_file_is(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="it cannot be written"):
        write_report(Record(RUN), tmp_path / "file")
    with pytest.raises(ConfigError, match="it cannot be written"):
        write_csv(Record(RUN), tmp_path)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["Ortolan int8", "optimum", "torch.compile", "eager bf16", "eager fp32"], "eager fp32"),
        (["Ortolan int8", "optimum", "torch.compile"], "torch.compile"),
        (["Ortolan int8", "optimum"], "optimum"),
        (["Ortolan int8", "Ortolan fp32"], "Ortolan int8"),
        ([], ""),
    ],
)
def test_the_reference_is_eager_torch_where_there_is_one(names: list[str], chosen: str):
    assert reference(Record(RUN, cases=tuple(map(case, names)))) == chosen


def test_a_case_may_name_a_reference_of_its_own():
    own = {"case": "20 texts", "group": "tokenization", "reference": "library"}
    cases = (case("eager fp32", 10.0), case("Ortolan", 2.5), case("library", 6.0, **own), case("Ortolan", 3.0, **own))
    record = Record(RUN, cases=cases)
    assert [(one.case.case, one.ratio.middle) for one in beside_reference(record, cases)] == [
        ("1x128", 4.0),
        ("20 texts", 2.0),
    ]
    table = markdown_table(record)
    assert "| tiny, tokenization, beside library | 20 texts, ms |\n" in table
    assert "how many times as good as eager fp32, or the one that is named, with" in table
    assert "How many times as good as library, tokenization: tiny" in [plot.title for plot in plots(record)]
    assert html_page(record).count('<td class="number">the reference</td>') == 2


def test_a_loss_is_beside_the_best_of_this_project():
    cases = (case("Ortolan int8", 4.0), case("Ortolan fp32", 9.0), case("quick", 2.0), case("slow", 5.0))
    [(own, beside)] = losses(Record(RUN, cases=cases))
    assert (own.contender, beside.case.contender, beside.ratio.middle) == ("Ortolan int8", "quick", 2.0)


def test_a_share_of_the_limit_names_what_would_be_reached_first():
    ceilings = (
        Ceiling(name="int8 product", unit="GOP/s", samples=(500.0,)),
        Ceiling(name="memory", unit="GB/s", samples=(10.0,)),
    )
    cases = (
        case("Ortolan int8", 4.0, work=Work(flops=1e9, bytes=1e6)),
        case("other int8", 40.0, work=Work(flops=1e6, bytes=1e8)),
        case("fp32", 4.0, work=Work(flops=1e9, bytes=1e6)),
    )
    found = shares(Record(RUN, ceilings), cases)
    assert [(one.case.contender, one.by) for one in found] == [
        ("Ortolan int8", "int8 product"),
        ("other int8", "memory"),
    ]
    assert [one.share for one in found] == pytest.approx([0.5, 0.25])


def test_a_standing_is_the_mean_speed_and_the_worst_quality():
    cases = (
        case("eager", 10.0),
        case("eager", 10.0, case="1x16"),
        case("a", 5.0, quality=Quality(cosine=0.9)),
        case("a", 1.25, case="1x16", quality=Quality(cosine=0.8)),
        case("b", 5.0),
    )
    first, second = standings(Record(RUN, cases=cases), "tiny")
    assert (first.contender, first.speed, first.quality.cosine) == ("eager", 1.0, 1.0)
    assert (second.contender, second.quality.cosine) == ("a", 0.8)
    assert second.speed == pytest.approx(4.0)


def test_the_front_is_what_nobody_beats_in_both():
    assert front([(1, 3), (2, 2), (1, 2), (3, 1), (2, 2)]) == [True, True, False, True, True]


@pytest.mark.parametrize(
    ("name", "shape"), [("8x128", (8, 128)), ("1 x 16", (1, 16)), ("8x128 padded", (8, 128)), ("500 reviews", None)]
)
def test_the_shape_of_a_case_is_in_its_name(name: str, shape: tuple[int, int] | None):
    assert shape_of(case("a", case=name)) == shape


def test_tokens_a_second_come_from_times_and_rates():
    assert tokens_a_second(case("a", 4.0, case="8x128")) == pytest.approx(256_000)
    assert tokens_a_second(case("a", 100.0, unit="tok/s", better="more")) == 100.0
    assert tokens_a_second(case("a", unit="MB")) is None


def test_numbers_on_the_page_are_not_longer_than_they_are_good(full: Record):
    numbers = re.findall(r'<td class="number">(\d[\d.]*) ms</td>', html_page(full))
    assert numbers
    assert all(len(number.replace(".", "").strip("0")) <= 4 for number in numbers)
