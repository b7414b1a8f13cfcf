"""Flags to options, then `export()`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ortolan.artifact import Artifact
from ortolan.config import PRECISIONS
from ortolan.errors import ConfigError, OrtolanError
from ortolan.manifest import LAYOUTS
from ortolan.tune.api import tune
from ortolan_exporters.config import DEFAULT_PRECISIONS
from ortolan_exporters.errors import ExportWarning

if TYPE_CHECKING:
    from ortolan.tune.report import TuneReport

EXAMPLES = """\
examples:
  ortolan export models/sentiment-minilm -o sentiment
  ortolan export models/bert-ner --precision int8 --tune
  ortolan export distilbert/distilbert-base-uncased-finetuned-sst-2-english -o sst2 --precision int8
  ortolan export ./my-model -o out --eval heldout.jsonl --max-drop 0.005
  ortolan export ./base-model -o out --num-labels 10
  ortolan export ./base-model -o out --from-scratch --config n_heads=8 --config dim=512 --config hidden_dim=2048
"""


def parser() -> argparse.ArgumentParser:
    """Make the parser of `ortolan export`."""
    made = argparse.ArgumentParser(
        prog="ortolan export",
        description="Export a transformers checkpoint to an ONNX artifact: optimized, quantized, and compared with "
        "torch on real texts. The folder appears only if every precision passes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("model", metavar="MODEL", help="checkpoint folder, Hub id, or folder with a recipe.json")
    made.add_argument(
        "-o",
        "--output-dir",
        dest="folder",
        metavar="DIR",
        type=Path,
        help="folder to make (default: one with the name of the model, here)",
    )
    made.add_argument("--task", metavar="T", help="task to export for; by default what the checkpoint's head is for")
    made.add_argument("--tokenizer", metavar="DIR", help="tokenizer, if not the checkpoint's own")
    made.add_argument(
        "--precision",
        metavar="P,...",
        help=f"which to make, of {', '.join(PRECISIONS)} (default: the recipe's, else {','.join(DEFAULT_PRECISIONS)})",
    )
    made.add_argument(
        "--output",
        metavar="NAME,...",
        default="",
        help="outputs of every layer to have besides: hidden_states, attentions",
    )
    made.add_argument(
        "--layout",
        choices=LAYOUTS,
        default=LAYOUTS[0],
        help="fused: operators of ONNX Runtime, the quick ones; portable: standard operators alone, in optimum's files "
        "and names (default: %(default)s)",
    )
    made.add_argument("--revision", metavar="REV", help="branch, tag or commit on the Hub")
    made.add_argument("--overwrite", action="store_true", help="replace an artifact that is there already")
    made.add_argument(
        "--wait", action="store_true", help="if another process is exporting to DIR, wait and take what it makes"
    )
    made.add_argument("--allow-pickle", action="store_true", help="read pytorch_model.bin if there are no safetensors")
    made.add_argument(
        "--trust-remote-code", action="store_true", help="run the Python code that comes with the checkpoint"
    )
    made.add_argument(
        "--tune",
        action="store_true",
        help="then measure how it runs best on this machine, as 'ortolan tune' does; keeps every form of attention",
    )
    gate = made.add_argument_group("the gate")
    gate.add_argument("--eval", metavar="FILE", type=Path, help="labelled texts, jsonl as the task reads it")
    gate.add_argument(
        "--max-drop",
        metavar="SHARE",
        type=float,
        help="most that the score may fall (default: the recipe's, else 0.01)",
    )
    gate.add_argument(
        "--calibration",
        metavar="FILE",
        type=Path,
        help="texts to compare precisions on, jsonl with text; at most 512 are used",
    )
    change = made.add_argument_group("changing the model")
    change.add_argument("--num-labels", metavar="N", type=int, help="a new head with N classes, to be trained")
    change.add_argument(
        "--config", metavar="KEY=VALUE", action="append", default=[], help="change an entry of config.json; repeatable"
    )
    change.add_argument("--from-scratch", action="store_true", help="random weights; only the vocabulary is kept")
    change.add_argument("--seed", metavar="N", type=int, default=0, help="seed of new weights (default: %(default)s)")
    made.add_argument("--json", action="store_true", help="print one JSON document on stdout and nothing else there")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `ortolan export`.

    Returns:
        0 done, 1 failed (one line on stderr says why). Wrong usage exits with 2.
    """
    flags = parser().parse_args(arguments)
    before = signal.signal(signal.SIGTERM, _interrupt)
    artifact = None
    try:
        artifact = _export(flags)
        report = tune(artifact.folder) if flags.tune else None
    except OrtolanError as error:
        if flags.json:
            print(json.dumps({"error": {"type": type(error).__name__, "message": str(error)}}))
        print(f"ortolan export: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        state = "nothing was published" if artifact is None else f"{artifact.folder} is published and not tuned"
        print(f"ortolan export: interrupted, {state}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)
    if flags.json:
        print(json.dumps(_document(artifact, report)))
    elif report is not None:
        print(report.to_text(), end="")
    return 0


def _export(flags: argparse.Namespace) -> Artifact:
    from ortolan_exporters import export

    with warnings.catch_warnings():
        warnings.simplefilter("always", ExportWarning)
        warnings.showwarning = _show_warning  # type: ignore[assignment]  # the rest of its arguments go to *_
        return export(
            flags.model,
            flags.folder,
            flags.task,
            flags.tokenizer,
            None if flags.precision is None else tuple(flags.precision.split(",")),
            flags.overwrite,
            revision=flags.revision,
            num_labels=flags.num_labels,
            config=dict(_key_value(entry) for entry in flags.config),
            from_scratch=flags.from_scratch,
            seed=flags.seed,
            allow_pickle=flags.allow_pickle,
            trust_remote_code=flags.trust_remote_code,
            eval_data=flags.eval,
            max_drop=flags.max_drop,
            calibration=flags.calibration,
            outputs=tuple(name for name in flags.output.split(",") if name),
            layout=flags.layout,
            keep_forms=flags.tune,
            wait=flags.wait,
        )


def _document(artifact: Artifact, report: TuneReport | None) -> dict[str, Any]:
    manifest = artifact.manifest.to_json()
    document = {"artifact": str(artifact.folder), "task": manifest["task"], "precisions": manifest["precisions"]}
    return document if report is None else {**document, "tune": report.to_json()}


def _key_value(entry: str) -> tuple[str, object]:
    key, equals, value = entry.partition("=")
    if not key or not equals:
        raise ConfigError(f"--config {entry!r} requested", "it is not KEY=VALUE", "write, for example, dim=512")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    kind = "warning" if issubclass(category, ExportWarning) else category.__name__
    print(f"ortolan export: {kind}: {message}", file=sys.stderr)


def _interrupt(_: int, __: FrameType | None) -> None:
    """Turn SIGTERM into what ctrl-C does, so that the unfinished folder is removed."""
    raise KeyboardInterrupt
