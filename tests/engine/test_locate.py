from __future__ import annotations

import importlib.util
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from ortolan import Artifact, ArtifactError, ConfigError, MissingFileError, locate
from ortolan.hub import ARTIFACT_FILES, CHECKPOINT_FILES, is_hub_id
from ortolan.locate import DEFAULT_MODELS, cache_folder, default_model
from ortolan.tasks.registry import TASKS
from tests.engine.damage import as_hub_snapshot, as_optimum, as_transformers_js

TASK = "text-classification"
find = locate.locate


@pytest.fixture
def hub_cache(tmp_path: Path) -> Path:
    """The Hub's cache of this test."""
    return tmp_path / "hub"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder that looks like a checkpoint; its weights are not there."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}')
    return folder


# The cache


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("ORTOLAN_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


def test_an_argument_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("ORTOLAN_CACHE", str(tmp_path / "mine"))
    assert cache_folder(tmp_path / "other") == tmp_path / "other"


@pytest.mark.parametrize("value", ["", None], ids=["empty", "unset"])
def test_without_a_setting_the_cache_is_in_the_user_s_cache_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str | None
):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("ORTOLAN_CACHE", value or "")
    if value is None:
        monkeypatch.delenv("ORTOLAN_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "ortolan"


@pytest.mark.parametrize(
    ("platform", "folder"),
    [
        ("linux", Path(".cache", "ortolan")),
        ("darwin", Path("Library", "Caches", "ortolan")),
        ("win32", Path("AppData", "Local", "ortolan")),
    ],
)
def test_each_system_has_its_own_cache_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, folder: Path
):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for name in ("ORTOLAN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder() == tmp_path / folder


# Defaults


def test_the_default_is_the_checkpoint_of_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "sentiment-minilm").mkdir()
    (tmp_path / "sentiment-minilm" / "config.json").write_text("{}")
    monkeypatch.setattr(locate, "_MODELS", tmp_path)
    assert default_model(TASK) == tmp_path / "sentiment-minilm"


def test_the_default_outside_a_checkout_is_on_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(locate, "_MODELS", tmp_path)
    assert default_model(TASK) == "distilbert/distilbert-base-uncased-finetuned-sst-2-english"


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_default(task: str):
    assert is_hub_id(DEFAULT_MODELS[task][1])


@pytest.mark.parity
def test_defaults_are_those_of_transformers():
    from transformers.pipelines import SUPPORTED_TASKS

    theirs = {task: SUPPORTED_TASKS[task]["default"]["model"][0] for task in TASKS if task in SUPPORTED_TASKS}
    theirs["text-generation"] = "openai-community/gpt2"  # that of version 4
    assert {task: DEFAULT_MODELS[task][1] for task in theirs} == theirs


def test_a_translation_between_two_languages_has_the_default_of_translation():
    assert default_model("translation_en_to_de") == DEFAULT_MODELS["translation"][1]


def test_a_task_without_default_asks_for_a_model():
    with pytest.raises(MissingFileError) as caught:
        default_model("divination")
    assert str(caught.value) == "a model for 'divination' requested, this task has no default; pass model="


# Folders and names


@pytest.mark.parametrize("kind", [str, Path], ids=["string", "path"])
def test_an_artifact_is_its_own_answer(artifact: Path, kind: Any):
    assert find(kind(artifact), TASK) == artifact


def test_a_folder_with_neither_manifest_nor_config_is_refused(tmp_path: Path):
    with pytest.raises(MissingFileError) as caught:
        find(tmp_path, TASK)
    assert str(caught.value) == (
        f"model '{tmp_path}' requested, the folder has neither ortolan.json nor config.json; "
        "pass an artifact, a checkpoint or a Hub id"
    )


@pytest.mark.parametrize("name", ["/no/such/folder", "a/b/c", "..", "with blank/x", "~/model", ""], ids=repr)
def test_a_path_that_cannot_be_a_hub_id_is_a_missing_folder(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(MissingFileError, match=f"model '{name}' requested"):
        find(name, TASK)


def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub():
    with pytest.raises(MissingFileError) as caught:
        find("/no/such/folder", TASK)
    assert str(caught.value) == "model '/no/such/folder' requested, there is no such folder; check the path"


def test_a_relative_path_is_not_looked_for_on_the_hub():
    with pytest.raises(MissingFileError) as caught:
        find("./model", TASK)
    assert "Hub" not in caught.value.found


def test_a_hub_id_that_cannot_be_had_offline_says_so():
    with pytest.raises(MissingFileError, match=r"model 'org/name' requested, .* the Hub gave nothing \("):
        find("org/name", TASK)


def test_an_artifact_on_the_hub_is_its_own_answer(artifact: Path, hub_cache: Path):
    snapshot = as_hub_snapshot(artifact, hub_cache / "models--org--name", "0" * 40)
    assert find("org/name", TASK) == snapshot


# Exporting


def test_a_checkpoint_without_the_export_extra_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, checkpoint: Path):
    real = importlib.util.find_spec
    gone = ("torch", "onnxscript")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in gone else real(name, *rest))
    with pytest.raises(ArtifactError) as caught:
        find(checkpoint, TASK)
    assert str(caught.value) == (
        f"model '{checkpoint}' requested, it is a checkpoint, and exporting it needs torch, onnxscript; "
        "run: pip install 'ortolan[export]', or pass a folder that 'ortolan export' made"
    )


# Graphs of other tools


def without_export_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "missing_for_export", lambda: ["torch"])


def test_graphs_of_another_tool_without_weights_are_the_answer(artifact: Path):
    assert find(as_optimum(artifact), TASK) == artifact


def test_a_pickle_beside_graphs_is_no_reason_to_export(artifact: Path):
    (as_optimum(artifact) / "pytorch_model.bin").touch()
    assert find(artifact, TASK) == artifact


def test_graphs_beside_weights_are_not_used_where_weights_can_be_exported(
    monkeypatch: pytest.MonkeyPatch, artifact: Path, tmp_path: Path
):
    (as_transformers_js(artifact) / "model.safetensors").touch()
    with_exporter(monkeypatch, Exporter())
    assert find(artifact, TASK, cache_dir=tmp_path / "mine").parent == tmp_path / "mine" / "artifacts"


def test_graphs_beside_weights_are_the_answer_without_the_export_extra(monkeypatch: pytest.MonkeyPatch, artifact: Path):
    (as_transformers_js(artifact) / "model.safetensors").touch()
    without_export_extra(monkeypatch)
    assert find(artifact, TASK) == artifact


def test_an_earlier_export_goes_before_graphs_of_another_tool(monkeypatch: pytest.MonkeyPatch, artifact: Path):
    (as_transformers_js(artifact) / "model.safetensors").touch()
    with_exporter(monkeypatch, Exporter())
    exported = find(artifact, TASK)
    without_export_extra(monkeypatch)
    assert find(artifact, TASK) == exported


def test_a_model_in_pieces_is_refused_before_anything_is_fetched(artifact: Path, hub_cache: Path):
    as_optimum(artifact)
    (artifact / "model.onnx").rename(artifact / "encoder_model.onnx")
    (artifact / "model_quantized.onnx").rename(artifact / "decoder_model.onnx")
    as_hub_snapshot(artifact, hub_cache / "models--org--name", "0" * 40)
    for model in (artifact, "org/name"):
        with pytest.raises(
            ArtifactError, match=f"model '{model}' requested, its graphs are pieces of a model that gen"
        ):
            find(model, TASK)


class Hub:
    """Stands for a repository on the Hub: lists its files, and keeps what of them is asked for."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self._folder = folder
        self._names = names
        self.fetched: list[str] = []

    def list_repo_files(self, repo: str, *, revision: str | None) -> list[str]:
        return self._names

    def snapshot_download(self, repo: str, *, allow_patterns: list[str], **_: object) -> str:
        self.fetched = allow_patterns
        return str(self._folder)

    def try_to_load_from_cache(self, repo: str, file: str, *, revision: str | None) -> None:
        return None


def with_hub(monkeypatch: pytest.MonkeyPatch, folder: Path, names: list[str]) -> Hub:
    hub = Hub(folder, names)
    for name in ("list_repo_files", "snapshot_download", "try_to_load_from_cache"):
        monkeypatch.setattr(huggingface_hub, name, getattr(hub, name))
    return hub


def repository(folder: Path) -> list[str]:
    """Names of the files of a folder, and of some that other runtimes read."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return [*names, "onnx/model_fp16.onnx", "openvino/openvino_model.bin", "pytorch_model.bin"]


@pytest.mark.parametrize(
    ("precision", "graphs"),
    [
        pytest.param("int8", {"onnx/model_quantized.onnx"}, id="int8"),
        pytest.param("fp32", {"onnx/model.onnx"}, id="fp32"),
        pytest.param("auto", {"onnx/model.onnx", "onnx/model_quantized.onnx"}, id="auto"),
    ],
)
def test_of_a_repository_of_graphs_only_the_wanted_ones_are_fetched(
    monkeypatch: pytest.MonkeyPatch, artifact: Path, precision: str, graphs: set[str]
):
    hub = with_hub(monkeypatch, as_transformers_js(artifact), repository(artifact))
    assert find("org/name", TASK, precision=precision) == artifact
    settings = {"config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
    assert set(hub.fetched) == settings | graphs


def test_of_a_checkpoint_no_graph_is_fetched(monkeypatch: pytest.MonkeyPatch, artifact: Path):
    hub = with_hub(monkeypatch, as_transformers_js(artifact), [*repository(artifact), "model.safetensors"])
    with_exporter(monkeypatch, Exporter())
    (artifact / "model.safetensors").touch()
    find("org/name", TASK)
    assert hub.fetched == list(CHECKPOINT_FILES)


def test_without_the_export_extra_no_weights_are_fetched_where_there_are_graphs(
    monkeypatch: pytest.MonkeyPatch, artifact: Path
):
    hub = with_hub(monkeypatch, as_transformers_js(artifact), [*repository(artifact), "model.safetensors"])
    without_export_extra(monkeypatch)
    assert find("org/name", TASK) == artifact
    assert "model.safetensors" not in hub.fetched


def test_of_an_artifact_everything_is_fetched(monkeypatch: pytest.MonkeyPatch, artifact: Path):
    hub = with_hub(monkeypatch, artifact, repository(artifact))
    assert find("org/name", TASK, precision="int8") == artifact
    assert hub.fetched == list(ARTIFACT_FILES)


def test_a_repository_of_graphs_in_the_cache_needs_no_network(artifact: Path, hub_cache: Path):
    snapshot = as_hub_snapshot(as_transformers_js(artifact), hub_cache / "models--org--name", "0" * 40)
    assert find("org/name", TASK) == snapshot


def test_an_earlier_export_from_the_hub_goes_before_graphs_of_another_tool(
    monkeypatch: pytest.MonkeyPatch, artifact: Path, hub_cache: Path
):
    (as_transformers_js(artifact) / "model.safetensors").write_bytes(b"weights")
    as_hub_snapshot(artifact, hub_cache / "models--org--name", "0" * 40)
    with_exporter(monkeypatch, Exporter())
    exported = find("org/name", TASK)
    without_export_extra(monkeypatch)
    assert find("org/name", TASK) == exported


# The exporter's process


class Exporter:
    """Stands for the exporter's process: writes a manifest where it is told to, or fails, or is interrupted."""

    def __init__(self, stdout: bytes = b"", returncode: int = 0, interrupt: bool = False) -> None:
        self._stdout = stdout
        self.returncode = returncode
        self._interrupt = interrupt
        self.commands: list[list[str]] = []
        self.calls: list[str] = []

    def __call__(self, command: list[str], **_: object) -> Exporter:
        self.commands.append(command)
        return self

    def communicate(self) -> tuple[bytes, None]:
        if self._interrupt:
            raise KeyboardInterrupt
        if self.returncode == 0:
            command = self.commands[-1]
            target = Path(command[command.index("-o") + 1])
            target.mkdir(parents=True)
            (target / "ortolan.json").write_text("{}")
        return self._stdout, None

    def terminate(self) -> None:
        self.calls.append("terminate")

    def wait(self) -> None:
        self.calls.append("wait")


def with_exporter(monkeypatch: pytest.MonkeyPatch, exporter: Exporter) -> Exporter:
    monkeypatch.setattr(subprocess, "Popen", exporter)
    monkeypatch.setattr(locate, "missing_for_export", list)
    return exporter


def test_an_export_goes_into_the_cache(monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tmp_path: Path):
    with_exporter(monkeypatch, Exporter())
    assert find(checkpoint, TASK, cache_dir=tmp_path / "mine").parent == tmp_path / "mine" / "artifacts"


def test_an_export_is_named_after_its_checkpoint(monkeypatch: pytest.MonkeyPatch, checkpoint: Path):
    with_exporter(monkeypatch, Exporter())
    assert find(checkpoint, TASK).name.startswith("checkpoint-")


def test_a_checkpoint_that_did_not_change_is_not_exported_again(monkeypatch: pytest.MonkeyPatch, checkpoint: Path):
    exporter = with_exporter(monkeypatch, Exporter())
    assert find(checkpoint, TASK) == find(checkpoint, TASK)
    assert len(exporter.commands) == 1


def test_a_checkpoint_that_changed_is_exported_again(monkeypatch: pytest.MonkeyPatch, checkpoint: Path):
    with_exporter(monkeypatch, Exporter())
    first = find(checkpoint, TASK)
    (checkpoint / "config.json").write_text('{"model_type": "distilbert"}')
    assert find(checkpoint, TASK) != first


def test_another_task_is_another_export(monkeypatch: pytest.MonkeyPatch, checkpoint: Path):
    with_exporter(monkeypatch, Exporter())
    assert find(checkpoint, TASK) != find(checkpoint, "fill-mask")


@pytest.mark.parametrize(
    ("stdout", "reason"),
    [
        pytest.param(b'{"error": {"message": "it is too big"}}', "it is too big", id="said"),
        pytest.param(b"", "the exporter ended with status 3", id="silent"),
        pytest.param(b"Segmentation fault", "the exporter ended with status 3", id="crashed"),
        pytest.param(b'{"error": null}', "the exporter ended with status 3", id="no-message"),
    ],
)
def test_an_export_that_fails_gives_the_exporter_s_reason(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, stdout: bytes, reason: str
):
    with_exporter(monkeypatch, Exporter(stdout, returncode=3))
    with pytest.raises(ArtifactError) as caught:
        find(checkpoint, TASK)
    assert str(caught.value) == (
        f"model '{checkpoint}' requested, exporting it failed: {reason}; run: ortolan export {checkpoint} -o DIR"
    )


def test_an_interrupt_stops_the_exporter_and_waits_for_it_to_clean_up(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path
):
    exporter = with_exporter(monkeypatch, Exporter(interrupt=True))
    with pytest.raises(KeyboardInterrupt):
        find(checkpoint, TASK)
    assert exporter.calls == ["terminate", "wait"]


def test_a_checkpoint_from_the_hub_is_exported_by_its_id_and_commit(
    monkeypatch: pytest.MonkeyPatch, checkpoint: Path, hub_cache: Path
):
    as_hub_snapshot(checkpoint, hub_cache / "models--org--name", "a" * 40)
    exporter = with_exporter(monkeypatch, Exporter())
    assert find("org/name", TASK).name.startswith("name-")
    assert exporter.commands[0][3:6] == ["org/name", "--revision", "a" * 40]


def test_an_export_into_the_cache_waits_for_one_that_is_under_way(monkeypatch: pytest.MonkeyPatch, checkpoint: Path):
    exporter = with_exporter(monkeypatch, Exporter())
    find(checkpoint, TASK)
    assert "--wait" in exporter.commands[0]


def test_a_revision_of_a_folder_is_refused(artifact: Path):
    with pytest.raises(ConfigError, match="revision 'main' requested, .* is a folder, which has no revisions"):
        find(artifact, TASK, revision="main")


def test_a_name_too_long_for_a_path_is_a_missing_folder():
    with pytest.raises(MissingFileError, match="there is no such folder"):
        find("x" * 5000, TASK)


@pytest.mark.integration
def test_two_that_need_a_checkpoint_at_once_share_one_export_which_is_reused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    from tests import tiny

    checkpoint = tiny.save_checkpoint(tmp_path / "tiny-bert", tiny.bert())
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: find(checkpoint, TASK), range(2))  # a process each
    assert first == second
    assert Artifact.open(first).manifest.task == TASK
    assert capfd.readouterr().err.count(f"published {first}") == 1
    assert [path.name for path in first.parent.iterdir()] == [first.name]
    exporter = with_exporter(monkeypatch, Exporter())
    assert find(checkpoint, TASK) == first
    assert exporter.commands == []
