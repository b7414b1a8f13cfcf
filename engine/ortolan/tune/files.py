"""A report as files."""

from __future__ import annotations

import json
from pathlib import Path

from ortolan.errors import ConfigError
from ortolan.tune.plot import to_svg
from ortolan.tune.report import TuneReport


def write_report(report: TuneReport, folder: Path) -> None:
    """Write tune.txt, tune.json and tune.svg into a folder, which is made if need be.

    Raises:
        ConfigError: It can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tune.txt").write_text(report.to_text(), encoding="utf-8")
        (folder / "tune.json").write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")
        (folder / "tune.svg").write_text(to_svg(report), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"a report in '{folder}' requested", f"it cannot be written ({error})", "choose another folder"
        ) from error
