from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ortolan
from ortolan.cli import COMMANDS, main
from ortolan.commands import asking
from ortolan.manifest import FORMAT_VERSION
from ortolan.tasks.registry import task_named
from tests.engine.damage import GOLDEN, as_optimum, as_sentence_transformers, edit_manifest

RUN = ("run", "sentiment-analysis", "--model", str(GOLDEN), "--provider", "cpu", "--precision", "fp32")


def usage_error(*words: str) -> int | str | None:
    """Call `ortolan` in a way that argparse refuses, and return the exit status."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    return caught.value.code


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


# run


def test_run_prints_a_label_and_the_text_on_each_line(capsys: pytest.CaptureFixture[str]):
    assert main([*RUN, "the film was good", "what a great day"]) == 0
    # softmax of the golden logits in ortolan.json
    assert capsys.readouterr().out == "POSITIVE 0.9117\tthe film was good\nPOSITIVE 0.9009\twhat a great day\n"


def test_run_says_on_stderr_what_runs_and_why(capsys: pytest.CaptureFixture[str]):
    main([*RUN, "rain"])
    assert capsys.readouterr().err == "fp32 on cpu: asked for\n"


def test_run_reads_a_text_a_line_from_stdin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    type_in(monkeypatch, "the film was good\n\nwhat a great day\r\n")
    assert main([*RUN, "-"]) == 0
    assert capsys.readouterr().out == "POSITIVE 0.9117\tthe film was good\nPOSITIVE 0.9009\twhat a great day\n"


def test_run_without_texts_reads_stdin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    type_in(monkeypatch, "the film was good\n")
    assert main(RUN) == 0
    assert capsys.readouterr().out == "POSITIVE 0.9117\tthe film was good\n"


def test_run_on_an_empty_stdin_prints_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    type_in(monkeypatch, "\n")
    assert main(RUN) == 0
    assert capsys.readouterr().out == ""


def test_run_with_json_prints_one_document_and_nothing_else(capsys: pytest.CaptureFixture[str]):
    main([*RUN, "--json", "the film was good", "what a great day"])
    assert json.loads(capsys.readouterr().out) == [
        {"label": "POSITIVE", "score": pytest.approx(0.911673, abs=1e-4)},
        {"label": "POSITIVE", "score": pytest.approx(0.900895, abs=1e-4)},
    ]


@pytest.mark.parametrize(("top_k", "count"), [("1", 1), ("2", 2), ("0", 2)], ids=["one", "two", "zero-for-all"])
def test_run_prints_as_many_labels_as_asked(capsys: pytest.CaptureFixture[str], top_k: str, count: int):
    main([*RUN, "--json", "--top-k", top_k, "rain"])
    [labels] = json.loads(capsys.readouterr().out)
    assert len(labels) == count


def test_run_prints_several_labels_on_one_line(capsys: pytest.CaptureFixture[str]):
    main([*RUN, "--top-k", "0", "the film was good"])
    assert capsys.readouterr().out == "POSITIVE 0.9117  NEGATIVE 0.0883\tthe film was good\n"


def test_run_takes_options_between_texts(capsys: pytest.CaptureFixture[str]):
    assert main(["run", "sentiment-analysis", "the film was good", *RUN[2:], "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1


def test_run_cuts_texts_where_asked(capsys: pytest.CaptureFixture[str]):
    assert main([*RUN, "--truncation", "--max-length", "6", "the film was good " * 40]) == 0
    assert capsys.readouterr().out.startswith("POSITIVE 0.9117\t")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(
            ["rain " * 70], "text of 72 tokens requested at index 0, the model reads at most 64", id="text-too-long"
        ),
        pytest.param(["rain", " "], "text requested at index 1, it is empty or only white space", id="empty-text"),
        pytest.param(["--top-k", "-1", "rain"], "top_k requested, got -1", id="top-k"),
        pytest.param(["--max-length", "65", "rain"], "max_length=65 requested, the model has 64", id="max-length"),
    ],
)
def test_run_ends_a_failure_with_one_line_on_stderr(capsys: pytest.CaptureFixture[str], words: list[str], message: str):
    assert main([*RUN, *words]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"ortolan run: error: {message}")


def test_run_on_a_stdin_that_is_no_text_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9\n"), encoding="utf-8"))
    assert main(RUN) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("ortolan run: error: ")


def test_run_prints_nothing_on_stdout_when_it_fails(capsys: pytest.CaptureFixture[str]):
    main([*RUN, ""])
    assert capsys.readouterr().out == ""


def test_run_with_json_prints_a_failure_as_one_document(capsys: pytest.CaptureFixture[str]):
    assert main([*RUN, "--json", ""]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "InvalidInputError"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["divination", "rain"], "task 'divination' requested, no such task", id="task"),
        pytest.param(
            ["sentiment-analysis", "--model", "/no/such", "rain"], "model '/no/such' requested, there is no", id="model"
        ),
        pytest.param([*RUN[1:4], "--provider", "tpu", "rain"], "provider 'tpu' requested, no such", id="provider"),
        pytest.param([*RUN[1:4], "--precision", "fp8", "rain"], "precision 'fp8' requested, no such", id="precision"),
    ],
)
def test_run_says_in_one_line_what_cannot_be_had(capsys: pytest.CaptureFixture[str], words: list[str], message: str):
    assert main(["run", *words]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ortolan run: error: {message}")


def test_run_interrupted_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    class Interrupted(io.StringIO):
        def __next__(self) -> str:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Interrupted())
    assert main(RUN) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "ortolan run: interrupted"


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a pipeline of any task answers to a list; afterwards the list."""
    given: list[Any] = []

    class Answering:
        def __init__(self, task: str) -> None:
            self.task = task_named(task).name
            self.model = SimpleNamespace(precision="fp32", provider="cpu", reason="asked for")

        def attempt(self, inputs: list[Any]) -> list[Any]:
            found, given[:] = given[: len(inputs)], inputs
            return found

    monkeypatch.setattr(asking, "pipeline", lambda task, *_, **__: Answering(task))
    return given


ENTITY = {"entity_group": "PER", "score": 0.991, "word": "Ada", "start": 0, "end": 3}
GAP = [{"score": 0.9, "token": 1, "token_str": "rain", "sequence": "it may rain"}]
SHOWN: dict[str, tuple[list[str], Any, str]] = {
    "entities": (
        ["ner"],
        [ENTITY, {"entity": "B-LOC", "score": 0.5, "word": "Rome", "index": 3, "start": 7, "end": 11}],
        "PER Ada 0.9910  B-LOC Rome 0.5000\ttext\n",
    ),
    "no-entities": (["ner"], [], "\ttext\n"),
    "answer": (
        ["question-answering", "--context", "Ada."],
        {"score": 0.75, "start": 0, "end": 3, "answer": "Ada"},
        "Ada 0.7500\ttext\n",
    ),
    "answers": (
        ["question-answering", "--context", "Ada."],
        [{"score": 0.5, "start": 0, "end": 3, "answer": one} for one in ("Ada", "")],
        "Ada 0.5000   0.5000\ttext\n",
    ),
    "gap": (["fill-mask"], GAP, "rain 0.9000\ttext\n"),
    "gaps": (["fill-mask"], [GAP, GAP], "rain 0.9000 | rain 0.9000\ttext\n"),
    "features": (
        ["feature-extraction"],
        [[[0.5, -1.0], [2.0, 0.25]]],
        "[1, 2, 2] 0.5000 -1.0000 2.0000 0.2500 ...\ttext\n",
    ),
    "embedding": (["sentence-embedding"], np.array([0.5], np.float32), "[1] 0.5000 ...\ttext\n"),
    "labels": (
        ["zero-shot-classification", "--labels", "a, b"],
        {"sequence": "text", "labels": ["b", "a"], "scores": [0.75, 0.25]},
        "b 0.7500  a 0.2500\ttext\n",
    ),
    "text": (["text-generation"], [{"generated_text": "text and\nmore"}], "text and\nmore\n"),
    "chat": (
        ["text-generation"],
        [{"generated_text": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}],
        "b\n",
    ),
    "summary": (["summarization"], [{"summary_text": "short"}], "short\n"),
    "translation": (["translation_en_to_fr"], [{"translation_text": "texte"}], "texte\n"),
}


@pytest.mark.parametrize(("words", "answer", "line"), SHOWN.values(), ids=SHOWN)
def test_run_shows_the_answers_of_each_task(
    answers: list[Any], capsys: pytest.CaptureFixture[str], words: list[str], answer: Any, line: str
):
    answers.append(answer)
    assert main(["run", *words, "text"]) == 0
    assert capsys.readouterr().out == line


def test_run_shows_a_ranking_as_a_line_a_document(
    answers: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "documents.txt").write_text("one\n\ntwo\n")
    answers.append([{"index": 1, "score": 0.9}, {"index": 0, "score": 0.1}])
    assert main(["run", "text-ranking", "which?", "--documents", str(tmp_path / "documents.txt")]) == 0
    assert capsys.readouterr().out == "0.9000\ttwo\n0.1000\tone\n"
    assert answers == [{"query": "which?", "documents": ["one", "two"]}]


def test_run_reads_documents_from_stdin(answers: list[Any], monkeypatch: pytest.MonkeyPatch):
    type_in(monkeypatch, "one\r\ntwo")
    answers.append([])
    assert main(["run", "text-ranking", "which?", "--documents", "-"]) == 0
    assert answers == [{"query": "which?", "documents": ["one", "two"]}]


def test_run_reads_a_context_from_a_file(answers: list[Any], tmp_path: Path):
    (tmp_path / "context.txt").write_text("Ada\nwas here.")
    answers += [[], []]
    assert main(["run", "question-answering", "who?", "where?", "--context", f"@{tmp_path / 'context.txt'}"]) == 0
    assert answers == [{"question": one, "context": "Ada\nwas here."} for one in ("who?", "where?")]


def test_run_with_json_writes_arrays_as_lists(answers: list[Any], capsys: pytest.CaptureFixture[str]):
    answers.append(np.array([0.5, 2.0], np.float32))
    assert main(["run", "sentence-embedding", "text", "--json"]) == 0
    assert capsys.readouterr().out == "[[0.5, 2.0]]\n"


def test_run_passes_any_option_of_the_task(capsys: pytest.CaptureFixture[str]):
    words = ["--option", "top_k=2", "--option", "function_to_apply=sigmoid", "--option", "batch_size=1"]
    assert main([*RUN, "--json", *words, "rain"]) == 0
    [labels] = json.loads(capsys.readouterr().out)
    assert len(labels) == 2
    assert sum(one["score"] for one in labels) != pytest.approx(1.0)  # as it would be with softmax


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param([*RUN, "--option", "topk=1", "rain"], "option 'topk' requested, text-class", id="option"),
        pytest.param(
            [*RUN, "--option", "top_k", "rain"], "option 'top_k' requested, it is no NAME=VALUE", id="no-value"
        ),
        pytest.param(
            [*RUN, "--option", "top_k=1", "--top-k", "2", "a"], "option top_k requested, it is there", id="twice"
        ),
        pytest.param([*RUN, "--labels", "a,b", "rain"], "option 'candidate_labels' requested, text-cl", id="labels"),
        pytest.param(
            [*RUN, "--context", "a", "rain"], "text-classification requested, it has no --context", id="context"
        ),
        pytest.param([*RUN, "--documents", "-", "a"], "text-classification requested, it has no --doc", id="documents"),
    ],
)
def test_run_refuses_what_a_task_does_not_have(capsys: pytest.CaptureFixture[str], words: list[str], message: str):
    assert main(words) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"ortolan run: error: {message}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["question-answering", "who?"], "question-answering requested, it needs --context", id="context"),
        pytest.param(["text-ranking", "who?"], "text-ranking requested, it needs --documents", id="documents"),
        pytest.param(
            ["text-ranking", "--documents", "-"], "--documents - requested, the queries come from", id="stdin"
        ),
        pytest.param(["text-ranking", "a", "--documents", "/no"], "'/no' requested, it can't be read", id="no-file"),
        pytest.param(["question-answering", "a", "--context", "@/no"], "'/no' requested, it can't be", id="no-context"),
    ],
)
@pytest.mark.usefixtures("answers")
def test_run_says_what_a_task_needs(capsys: pytest.CaptureFixture[str], words: list[str], message: str):
    assert main(["run", *words]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"ortolan run: error: {message}")


# inspect


def test_inspect_shows_model_precisions_and_evidence(capsys: pytest.CaptureFixture[str]):
    assert main(["inspect", str(GOLDEN)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "tiny-bert: bert, text-classification, up to 64 tokens",
        "7 files, 0.2 MB, exported by ortolan 0.1.0.dev0, fused layout",
        "labels: NEGATIVE, POSITIVE",
    ]
    assert {"fp32: onnx/model.onnx, 0.1 MB", "  logits: float32[batch, 2]"} <= set(lines)


def test_inspect_shows_the_metric_where_there_is_one(artifact: Path, capsys: pytest.CaptureFixture[str]):
    metric = {"name": "accuracy", "texts": 50, "torch": 0.9, "this": 0.89}
    edit_manifest(artifact, lambda manifest: manifest["precisions"]["int8"]["quality"].update(metric=metric))
    main(["inspect", str(artifact)])
    assert "  accuracy on 50 examples: torch 0.9000, int8 0.8900\n" in capsys.readouterr().out


def test_inspect_shows_what_was_kept_in_fp32(artifact: Path, capsys: pytest.CaptureFixture[str]):
    edit_manifest(artifact, lambda manifest: manifest["precisions"]["int8"].update(kept_fp32=["classifier"]))
    main(["inspect", str(artifact)])
    assert "  kept in fp32: classifier\n" in capsys.readouterr().out


def test_inspect_with_json_prints_the_manifest(capsys: pytest.CaptureFixture[str]):
    main(["inspect", str(GOLDEN), "--json"])
    written = json.loads((GOLDEN / "ortolan.json").read_text())
    assert json.loads(capsys.readouterr().out) == {**written, "format_version": FORMAT_VERSION, "layout": "fused"}


def test_inspect_shows_a_folder_of_another_tool_without_evidence(artifact: Path, capsys: pytest.CaptureFixture[str]):
    (artifact / "onnx" / "model_O2.onnx").write_bytes((artifact / "onnx" / "model.onnx").read_bytes())
    assert main(["inspect", str(as_optimum(artifact))]) == 0
    assert (
        capsys.readouterr().out
        == f"""\
{artifact}: bert, text-classification, up to 64 tokens
6 files, 0.2 MB, exported by another tool: its quality is unverified
labels: NEGATIVE, POSITIVE

fp32: model.onnx, 0.1 MB
  input_ids: int64[batch, sequence]
  attention_mask: int64[batch, sequence]
  token_type_ids: int64[batch, sequence]
  logits: float32[batch, 2]

int8: model_quantized.onnx, 0.1 MB
  input_ids: int64[batch, sequence]
  attention_mask: int64[batch, sequence]
  token_type_ids: int64[batch, sequence]
  logits: float32[batch, 2]

not used: model_O2.onnx (fp32)
"""
    )


def test_inspect_shows_no_labels_where_the_task_has_none(artifact: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["inspect", str(as_sentence_transformers(artifact))]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(": bert, sentence-embedding, up to 32 tokens")
    assert not any(line.startswith("labels: ") for line in lines)


def test_inspect_with_json_says_that_a_folder_is_of_another_tool(artifact: Path, capsys: pytest.CaptureFixture[str]):
    main(["inspect", str(as_optimum(artifact)), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert (document["is_foreign"], document["golden_inputs"]) == (True, [])


@pytest.mark.parametrize("entry", ["quality", "parity"])
def test_inspect_of_a_manifest_without_evidence_says_so_in_one_line(
    artifact: Path, capsys: pytest.CaptureFixture[str], entry: str
):
    edit_manifest(artifact, lambda manifest: manifest["precisions"]["fp32"].update({entry: {}}))
    assert main(["inspect", str(artifact)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("ortolan inspect: error: ")


# verify


def test_verify_prints_a_line_for_each_check(capsys: pytest.CaptureFixture[str]):
    assert main(["verify", str(GOLDEN)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "ok      files: 7 files match their SHA-256",
        "ok      tokenizer: 4 golden texts give their ids",
    ]


def test_verify_ends_with_1_and_names_the_failures_on_stderr(artifact: Path, capsys: pytest.CaptureFixture[str]):
    (artifact / "onnx" / "model.onnx").write_bytes(b"damaged")
    assert main(["verify", str(artifact)]) == 1
    assert capsys.readouterr().err == f"ortolan verify: error: {artifact} failed: files, golden outputs, fp32\n"


def test_verify_marks_each_failed_check(artifact: Path, capsys: pytest.CaptureFixture[str]):
    (artifact / "README.md").unlink()
    main(["verify", str(artifact)])
    assert "FAILED  files: it lacks README.md\n" in capsys.readouterr().out


def test_verify_with_json_prints_every_check(artifact: Path, capsys: pytest.CaptureFixture[str]):
    (artifact / "README.md").unlink()
    assert main(["verify", str(artifact), "--json"]) == 1
    checks = json.loads(capsys.readouterr().out)
    assert checks[0] == {"check": "files", "passed": False, "detail": "it lacks README.md"}
    assert [check["passed"] for check in checks] == [False, True, True, True]


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_a_missing_artifact_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str):
    assert main([command, str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err == (
        f"ortolan {command}: error: artifact '{tmp_path / 'nowhere'}' requested, there is no such folder; "
        "check the path, or export the model first\n"
    )


# Usage


@pytest.mark.parametrize(
    "words",
    [
        pytest.param([], id="nothing"),
        pytest.param(["frobnicate"], id="unknown-command"),
        pytest.param(["run"], id="run-without-task"),
        pytest.param(["run", "sentiment-analysis", "--frobnicate"], id="unknown-flag"),
        pytest.param(["run", "sentiment-analysis", "--top-k", "many"], id="flag-of-a-wrong-type"),
        pytest.param(["inspect"], id="inspect-without-folder"),
        pytest.param(["verify"], id="verify-without-folder"),
        pytest.param(["verify", "one", "two"], id="verify-of-two-folders"),
    ],
)
def test_wrong_usage_ends_with_2(words: list[str]):
    assert usage_error(*words) == 2


def test_an_unknown_command_names_the_known(capsys: pytest.CaptureFixture[str]):
    usage_error("frobnicate")
    message = capsys.readouterr().err
    assert all(command in message for command in ("frobnicate", "export", *COMMANDS))


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(capsys: pytest.CaptureFixture[str], command: str):
    assert usage_error(command, "--help") == 0
    assert capsys.readouterr().out.startswith(f"usage: ortolan {command} ")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]):
    assert usage_error("--help") == 0
    shown = capsys.readouterr().out
    assert all(f"  {command} " in shown for command in ("export", *COMMANDS))


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]):
    assert usage_error("--version") == 0
    assert capsys.readouterr().out == f"ortolan {ortolan.__version__}\n"


def test_arguments_come_from_the_command_line_by_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["ortolan", "inspect", str(GOLDEN)])
    assert main() == 0
    assert capsys.readouterr().out.startswith("tiny-bert: ")


# As a process


def ortolan_process(*words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "ortolan.cli", *words], capture_output=True, check=False, **options)


@pytest.mark.integration
def test_a_process_reads_stdin_and_prints_json_alone(tmp_path: Path):
    done = ortolan_process(*RUN, "-", "--json", input=b"the film was good\n", cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)[0]["label"]) == (0, "POSITIVE")
