from __future__ import annotations

import io
import sys

import pytest

from ortolan import progress
from ortolan.progress import Bar, bar_line, say, track


class Terminal(io.StringIO):
    """A terminal of 60 columns."""

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        """What was drawn in one place, one thing over the other."""
        return [line.rstrip() for line in self.getvalue().split("\r") if line.strip()]


def on_terminal(monkeypatch: pytest.MonkeyPatch, refresh_seconds: float = 0.0) -> Terminal:
    """Show all that follows on a terminal. In the test itself: pytest sets stderr anew after its fixtures."""
    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    monkeypatch.setenv("COLUMNS", "61")
    monkeypatch.setattr(progress, "REFRESH_SECONDS", refresh_seconds)
    return made


def test_a_message_goes_to_stderr(capsys: pytest.CaptureFixture[str]):
    say("measuring")
    assert capsys.readouterr() == ("", "measuring\n")


def test_tracking_gives_every_item():
    assert list(track(["a", "b", "c"], "timing")) == ["a", "b", "c"]


def test_away_from_a_terminal_there_is_a_line_for_each_quarter(capsys: pytest.CaptureFixture[str]):
    list(track(range(8), "timing"))
    assert capsys.readouterr().err.splitlines() == [f"timing: {done} of 8" for done in (2, 4, 6, 8)]


def test_few_items_have_a_line_each(capsys: pytest.CaptureFixture[str]):
    list(track(range(2), "timing"))
    assert capsys.readouterr().err.splitlines() == ["timing: 1 of 2", "timing: 2 of 2"]


def test_no_items_have_no_line(capsys: pytest.CaptureFixture[str]):
    list(track([], "timing"))
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar_for_each_item_and_before_the_first(monkeypatch: pytest.MonkeyPatch):
    terminal = on_terminal(monkeypatch)
    list(track(["a", "b"], "timing"))
    assert [line.partition(",")[0] for line in terminal.lines] == [
        "timing: [....................] 0 of 2",
        "timing: [##########..........] 1 of 2",
        "timing: [####################] 2 of 2",
    ]


def test_the_bar_is_removed_at_the_end(monkeypatch: pytest.MonkeyPatch):
    terminal = on_terminal(monkeypatch)
    list(track(["a"], "timing"))
    assert terminal.getvalue().endswith("\r" + " " * 60 + "\r")


def test_the_bar_is_removed_when_the_work_breaks_off(monkeypatch: pytest.MonkeyPatch):
    terminal = on_terminal(monkeypatch)
    items = track(["a", "b"], "timing")
    next(items)
    items.close()  # type: ignore[attr-defined]  # a generator, declared as an iterator
    assert terminal.getvalue().endswith("\r" + " " * 60 + "\r")


def test_a_message_takes_the_place_of_the_bar(monkeypatch: pytest.MonkeyPatch):
    terminal = on_terminal(monkeypatch)
    bar = Bar(2, "timing")
    say("slow")
    bar.show(1)
    assert "\r" + " " * 60 + "\rslow\n\rtiming: [" in terminal.getvalue()


def test_a_bar_is_not_drawn_more_often_than_people_can_read(monkeypatch: pytest.MonkeyPatch):
    terminal = on_terminal(monkeypatch, refresh_seconds=1000.0)
    list(track(range(50), "timing"))
    assert len(terminal.lines) == 1


def test_a_line_never_wraps(monkeypatch: pytest.MonkeyPatch):
    terminal = on_terminal(monkeypatch)
    Bar(1, "a long story " * 20)
    assert max(map(len, terminal.lines)) == 60


def test_a_bar_counts_in_its_unit(capsys: pytest.CaptureFixture[str]):
    Bar(60, "tuning", " s").show(30)
    assert capsys.readouterr().err == "tuning: 30 of 60 s\n"


def test_more_than_all_is_all(capsys: pytest.CaptureFixture[str]):
    Bar(60, "tuning", " s").show(63)
    assert capsys.readouterr().err == "tuning: 60 of 60 s\n"


def test_nothing_to_do_is_no_division_by_zero(capsys: pytest.CaptureFixture[str]):
    Bar(0, "tuning").show(1)
    assert capsys.readouterr().err == "tuning: 1 of 1\n"


@pytest.mark.parametrize(
    ("done", "seconds", "line"),
    [
        pytest.param(0, 9.0, "timing: [....................] 0 of 4", id="at-the-start-no-one-knows"),
        pytest.param(1, 10.0, "timing: [#####...............] 1 of 4, 30 s left", id="seconds"),
        pytest.param(1, 100.0, "timing: [#####...............] 1 of 4, 5 min 0 s left", id="minutes"),
        pytest.param(4, 40.0, "timing: [####################] 4 of 4, 0 s left", id="at-the-end"),
    ],
)
def test_a_bar_says_how_long_it_will_take(done: int, seconds: float, line: str):
    assert bar_line("timing", done, 4, seconds) == line
