"""Contenders: programs over pipes, their environments, how their answers are compared, and a race of tiny models."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan import timing
from ortolan.artifact import Artifact
from ortolan.bench.records import Case, Line, Missing, Quality, Run
from ortolan.cli import main
from ortolan.errors import ConfigError
from ortolan.request import TextInput
from ortolan_exporters import export
from ortolan_exporters.contenders import bench, environments, likeness, race
from ortolan_exporters.contenders.environments import FOLDER, InstallError, file_of, python_of
from ortolan_exporters.contenders.process import Process, WorkerError
from ortolan_exporters.contenders.registry import AGAINST, asked_for, own
from ortolan_exporters.contenders.serving import KINDS, Worker
from ortolan_exporters.contenders.subject import find_checkpoint, open_subject, parse_shapes
from tests import checkpoints
from tests.engine.damage import GOLDEN

PAGE = Path(__file__).parents[2] / "docs" / "benchmarking.md"

ECHO = """
import sys

from ortolan_exporters.contenders.serving import serve


class Echo:
    def echo(self, what):
        print("not an answer")
        return what

    def fail(self):
        raise ValueError("\\nno model\\nand more")

    def end(self):
        sys.exit("out of memory")

    def finds(self, module):
        try:
            __import__(module)
        except ImportError:
            return False
        return True


sys.exit(serve(Echo()))
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A program that does little, in a module of its own."""
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "echo_contender.py").write_text(ECHO, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "programs.echo_contender"


@pytest.fixture
def other_python(tmp_path: Path) -> Path:
    """A Python by another name, as one of another environment is."""
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    return path


def test_a_program_answers_and_what_it_prints_is_no_answer(program: str, tmp_path: Path):
    with Process(Path(sys.executable), program, tmp_path / "log") as process:
        assert process.ask("echo", {"a": [1, 2]}) == {"a": [1, 2]}
    assert "not an answer" in (tmp_path / "log").read_text()


def test_a_failure_is_told_in_its_first_line_and_the_program_goes_on(program: str, tmp_path: Path):
    with Process(Path(sys.executable), program, tmp_path / "log") as process:
        with pytest.raises(WorkerError, match=r"^ValueError:"):
            process.ask("fail")
        assert process.ask("echo", 1) == 1


def test_a_program_that_is_gone_is_told_by_its_last_words(program: str, tmp_path: Path):
    process = Process(Path(sys.executable), program, tmp_path / "log")
    with process, pytest.raises(WorkerError, match="out of memory"):
        process.ask("end")


@pytest.mark.integration
def test_another_python_sees_the_programs_and_nothing_else_of_the_package(
    program: str, other_python: Path, tmp_path: Path
):
    with Process(other_python, program, tmp_path / "log") as process:
        assert process.ask("finds", "ortolan_exporters.contenders.heads")
        assert not process.ask("finds", "ortolan_exporters.recipe")


def test_every_contender_has_its_program_and_every_list_belongs_to_one():
    programs = {one.program for found in AGAINST.values() for one in found}
    assert {path.stem for path in FOLDER.glob("*.txt")} <= programs
    assert all(file_of(program).is_file() for program in programs)


def test_no_two_contenders_have_a_name_in_common_and_all_their_kinds_exist():
    contenders = asked_for(["all"])
    assert len({one.name for one in contenders}) == len(contenders)
    assert {kind for one in contenders for kind in one.kinds} == set(KINDS)


def test_the_order_of_tools_is_that_of_the_registry():
    assert asked_for(["optimum", "torch"])[0].program == "torch_eager"


def test_every_tool_is_named_by_the_help_and_has_a_row_on_the_page(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    told = " ".join(capsys.readouterr().out.replace("-\n", "-").split())
    rows = [line.split("|")[1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert [name for name in AGAINST if not any(f"`{name}`" in row for row in rows)] == []
    assert [name for name in (*AGAINST, "all") if name not in told.replace("- ", "-")] == []


def test_who_does_not_run_on_a_gpu_is_missing_there(tmp_path: Path):
    settings = race.Settings(folder=tmp_path, logs=tmp_path, threads=1, rounds=2, provider="cuda")
    with race.Race(open_subject(GOLDEN), settings) as found:
        found.prepare(asked_for(["optimum", "openvino"]))
    assert {one.reason for one in found.missing} == {"it is not raced on cuda"}
    assert len(found.missing) == 6


def test_a_reason_names_the_checkpoint_and_not_its_folder(tmp_path: Path):
    settings = race.Settings(folder=tmp_path, logs=tmp_path, threads=1, rounds=2)
    found = race.Race(open_subject(GOLDEN, checkpoint=tmp_path / "model"), settings)
    found._lose("somebody", f"{tmp_path / 'model'} is not supported")
    assert [one.reason for one in found.missing] == ["model is not supported"]


@dataclass
class FakeProcess:
    """Answers at once, and fails in one case; notes what it was asked."""

    name: str
    asked: list[tuple[str, Any]]
    fails_at: Any = None

    def ask(self, what: str, asked: Any, *_: Any) -> list[float]:
        self.asked.append((self.name, asked))
        if asked == self.fails_at:
            raise WorkerError("out of memory")
        return [1.0]


def heat(name: str, kind: str = "forward") -> race.Heat:
    return race.Heat(kind, "latency", name, asked=name, tokens=8, rows=1)


def raced_by_fakes(tmp_path: Path, fails_at: str | None = None) -> tuple[race.Race, list[tuple[str, Any]]]:
    asked: list[tuple[str, Any]] = []
    found = race.Race(open_subject(GOLDEN), race.Settings(folder=tmp_path, logs=tmp_path, threads=1, rounds=2))
    for one, failing in zip(own(["fp32", "int8"]), (None, fails_at), strict=True):
        process = FakeProcess(one.name, asked, failing)
        found.racers[one.name] = race.Racer(one, process, ["forward", "write"])  # type: ignore[arg-type]
    return found, asked


def test_a_round_goes_through_all_cases_and_in_each_through_all_contenders(tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(race, "REST_SECONDS", 0.0)
    found, asked = raced_by_fakes(tmp_path)
    taken = found.turns([heat("1x8"), heat("8x8")])
    assert [case for _, case in asked] == ["1x8", "1x8", "8x8", "8x8"] * 2
    assert taken == {case: {name: [(1.0,)] * 2 for name in found.racers} for case in ("1x8", "8x8")}


def test_first_round_of_texts_that_are_written_is_not_counted(tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(race, "REST_SECONDS", 0.0)
    found, asked = raced_by_fakes(tmp_path)
    taken = found.turns([heat("1 text", "write"), heat("1x8")])
    assert [case for _, case in asked].count("1 text") == 6
    assert {len(rounds) for by_name in taken.values() for rounds in by_name.values()} == {2}


def test_who_fails_in_one_case_is_missing_there_alone(tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(race, "REST_SECONDS", 0.0)
    found, _ = raced_by_fakes(tmp_path, fails_at="8x8")
    taken = found.turns([heat("1x8"), heat("8x8")])
    assert {case: set(by_name) for case, by_name in taken.items()} == {
        "1x8": {"Ortolan fp32", "Ortolan int8"},
        "8x8": {"Ortolan fp32"},
    }
    assert [(one.contender, one.reason) for one in found.missing] == [("Ortolan int8", "8x8: out of memory")]


def test_prompts_are_tokens_of_the_texts():
    subject = open_subject(GOLDEN, texts=[TextInput("what a day"), TextInput("it rained")])
    ids = [token for one in subject.encodings for token in one.ids]
    assert subject.prompts(2, 3) == [ids[:3], ids[3:6]]


def test_others_calibrate_on_other_texts_than_those_that_are_compared():
    subject = open_subject(GOLDEN, texts=[TextInput("what a day")])
    [other] = subject.feeds([TextInput("it rained")], rows=1)
    assert other["input_ids"].tolist() != subject.sentences()[0]["input_ids"].tolist()
    assert set(other) == set(subject.sentences()[0])


def test_a_program_without_a_list_runs_in_this_environment():
    assert python_of("torch_eager") == Path(sys.executable)


class Installer:
    """Takes the place of pip: counts its calls, and fails if it is told to."""

    def __init__(self, fails: bool = False) -> None:
        self.calls = 0
        self.fails = fails

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.calls += 1
        if "venv" in command:
            Path(command[-1]).mkdir(parents=True, exist_ok=True)
        said = "Collecting openvino\nERROR: No matching distribution found for openvino\nmore"
        return subprocess.CompletedProcess(command, int(self.fails), "", said if self.fails else "")


def test_an_environment_is_made_once_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    installer = Installer()
    monkeypatch.setattr(environments.subprocess, "run", installer)
    first = python_of("openvino_nncf")
    assert first == python_of("openvino_nncf")
    assert installer.calls == 2  # venv and pip
    assert first.is_relative_to(tmp_path / "cache" / "environments" / "openvino_nncf")


def test_an_environment_that_cannot_be_made_is_told_in_the_words_of_the_installer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(environments.subprocess, "run", Installer(fails=True))
    for _ in range(2):  # and nothing half made is taken for a whole one
        with pytest.raises(InstallError, match="^ERROR: No matching distribution found for openvino$"):
            python_of("openvino_nncf")


def test_a_worker_times_as_many_calls_as_it_is_asked_for():
    calls = []
    worker = Worker((), lambda _: None, lambda _: calls.append)
    worker._runs["texts"] = calls.append
    assert len(worker.time("asked", 3, 0.0, "texts")) == 3
    assert calls == ["asked"] * 3


def feed(mask: list[list[int]]) -> dict[str, np.ndarray]:
    return {"attention_mask": np.array(mask)}


def test_outputs_at_padding_do_not_count():
    expected = np.zeros((1, 3, 2), np.float32)
    found = expected.copy()
    found[0, 2] = 9.0
    assert likeness.of_outputs("feature-extraction", [found], [expected], [feed([[1, 1, 0]])]).difference == 0.0
    assert likeness.of_outputs("feature-extraction", [found], [expected], [feed([[1, 1, 1]])]).difference == 9.0


def test_labels_are_compared_by_text():
    found = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    expected = np.array([[2.0, 0.0], [1.0, 0.0]], np.float32)
    assert likeness.of_outputs("text-classification", [found], [expected], [feed([[1], [1]])]).same_label == 0.5


def test_outputs_of_another_shape_are_no_answer():
    with pytest.raises(ValueError, match=r"outputs have the shape \[1, 2\], not \[1, 3\]"):
        likeness.of_outputs("text-classification", [np.ones((1, 2))], [np.ones((1, 3))], [feed([[1]])])


def test_texts_are_compared_by_token():
    assert likeness.of_texts([[1, 2, 3, 4]], [[1, 2, 3, 9]]).same_label == 0.75
    with pytest.raises(ValueError, match="texts have"):
        likeness.of_texts([[1]], [[1, 2]])


@given(st.floats(0, 1), st.floats(0, 1))
def test_whoever_claims_fp32_is_timed_exactly_if_it_answers_as_the_reference(difference: float, same: float):
    fault = likeness.fault_of("texts", Quality(difference=difference, same_label=same))
    assert (fault == "") == (difference <= likeness.EXACT and same >= likeness.SAME_DECISIONS)


def test_a_number_that_is_none_is_a_fault():
    assert "nan" in likeness.fault_of("forward", Quality(difference=float("nan")))


def test_shapes_are_read():
    assert parse_shapes("1x16, 8x128") == [(1, 16), (8, 128)]


def test_shapes_longer_than_the_model_reads_are_cut():
    subject = open_subject(GOLDEN, shapes=[(1, 9999), (2, 8)])
    assert subject.shapes == ((1, subject.artifact.manifest.max_length), (2, 8))


def test_a_feed_has_the_inputs_of_the_graph_and_no_padding():
    made = open_subject(GOLDEN).feed(2, 8)
    assert set(made) == {"input_ids", "attention_mask", "token_type_ids"}
    assert (made["input_ids"].shape, made["attention_mask"].min()) == ((2, 8), 1)


def test_a_question_without_context_is_refused(artifact: Artifact):
    import json

    path = Path(str(artifact)) / "ortolan.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "task": "question-answering"}))
    with pytest.raises(ConfigError, match="a question lacks its context"):
        open_subject(Path(str(artifact)), texts=[TextInput("who?")])


def test_a_checkpoint_beside_its_artifact_is_found(artifact: Path, bert_checkpoint: Path):
    opened = Artifact.open(artifact)
    (artifact.parent / str(opened.manifest.source["name"])).symlink_to(bert_checkpoint)
    assert find_checkpoint(opened, None) == bert_checkpoint.resolve()


def test_a_checkpoint_without_weights_is_none(artifact: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="pass --checkpoint DIR"):
        find_checkpoint(Artifact.open(artifact), str(tmp_path))


@pytest.fixture
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "REST_SECONDS", 0.0)
    monkeypatch.setattr(race, "WARM_UP_SECONDS", 0.0)
    monkeypatch.setattr(timing, "REST_SECONDS", 0.0)
    monkeypatch.setattr(timing, "WARM_UP_SECONDS", 0.0)
    monkeypatch.setattr(bench, "measure_ceilings", lambda _: ((), ()))


def raced(options: bench.Options) -> list[Line]:
    lines: list[Line] = []
    bench.race(bench.plan(options), lines.append)
    return lines


@pytest.mark.integration
@pytest.mark.usefixtures("_hurry")
def test_an_artifacts_own_precisions_are_raced(capsys: pytest.CaptureFixture[str]):
    lines = raced(bench.Options(folder=GOLDEN, rounds=2, shapes=((1, 8),)))
    assert isinstance(lines[0], Run)
    cases = [line for line in lines if isinstance(line, Case)]
    assert {(one.group, one.contender) for one in cases} == {
        ("latency", "Ortolan fp32"),
        ("latency", "Ortolan int8"),
        ("mixed", "Ortolan fp32"),
        ("mixed", "Ortolan int8"),
    }
    assert {len(one.rounds) for one in cases} == {2}
    assert all(one.quality is not None for one in cases)
    assert {one.reference for one in cases} == {"Ortolan fp32"}


@pytest.mark.integration
@pytest.mark.usefixtures("_hurry")
def test_who_has_nothing_for_a_task_or_cannot_be_installed_is_missing_and_the_others_are_raced(
    bert_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(environments.subprocess, "run", Installer(fails=True))
    monkeypatch.setattr(race, "python_of", lambda name: python_of(name))
    options = bench.Options(
        folder=GOLDEN,
        rounds=2,
        shapes=((1, 8),),
        against=("fastembed", "openvino"),
        checkpoint=str(bert_checkpoint),
    )
    lines = raced(options)
    missing = {line.contender: line.reason for line in lines if isinstance(line, Missing)}
    assert missing["fastembed fp32"] == "it has nothing for text-classification"
    assert missing["OpenVINO int8"] == "ERROR: No matching distribution found for openvino"
    assert any(isinstance(line, Case) for line in lines)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.usefixtures("_hurry")
def test_a_race_against_torch_writes_a_report(
    bert_checkpoint: Path, exported_bert: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["bench", str(exported_bert.folder), "--against", "torch,pipeline", "--rounds", "2", "--shapes", "1x8"]
    words += ["--report", str(tmp_path / "out.html"), "--record", str(tmp_path / "out.jsonl")]
    assert main([*words, "--checkpoint", str(bert_checkpoint)]) == 0
    assert {path.name for path in tmp_path.glob("out.*")} == {"out.jsonl", "out.html", "out.md", "out.csv"}
    assert "eager fp32" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.usefixtures("_hurry")
@pytest.mark.parametrize(
    ("kind", "task", "tokenizer"),
    [("gpt2", "text-generation", "byte-level"), ("t5", "text2text-generation", "unigram")],
)
def test_models_that_write_are_raced_by_tokens_a_second(tmp_path: Path, kind: str, task: str, tokenizer: str):
    checkpoints.checkpoint(tmp_path / "checkpoint", kind, task, tokenizer)
    export(tmp_path / "checkpoint", tmp_path / "artifact", task, precisions=("fp32",))
    lines = raced(bench.Options(folder=tmp_path / "artifact", against=("torch",), rounds=2, shapes=((2, 5),)))
    cases = {(one.case, one.contender): one for one in lines if isinstance(one, Case)}
    beams = ["", ", 4 beams"] if kind == "t5" else [""]
    assert set(cases) == {
        (f"2 texts of 5+32{words}", name) for words in beams for name in ("eager fp32", "Ortolan fp32")
    }
    assert {(one.unit, one.better, one.tokens) for one in cases.values()} == {("tok/s", "more", 64)}


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.usefixtures("_hurry")
def test_whoever_answers_otherwise_in_fp32_is_not_timed(exported_bert: Artifact, distilbert_checkpoint: Path):
    options = bench.Options(
        folder=exported_bert.folder,
        against=("torch",),
        checkpoint=str(distilbert_checkpoint),
        rounds=2,
        shapes=((1, 8),),
    )
    lines = raced(options)
    timed = {line.contender for line in lines if isinstance(line, Case) and line.group == "latency"}
    missing = {line.contender: line.reason for line in lines if isinstance(line, Missing)}
    assert "Ortolan fp32" not in timed
    assert "Ortolan fp32" in missing
