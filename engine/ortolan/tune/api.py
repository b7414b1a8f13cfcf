"""`ortolan.tune`: light to import, the measuring is loaded at the first call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ortolan.tune.options import TuneOptions
from ortolan.tune.pareto import Prefer

if TYPE_CHECKING:
    from ortolan.tune.report import TuneReport


def tune(
    path: str | Path,
    *,
    budget_seconds: float = 60.0,
    prefer: Prefer = "latency",
    provider: str = "auto",
    texts: Sequence[object] = (),
    cache_dir: str | Path | None = None,
    fresh: bool = False,
) -> TuneReport:
    """Find the best way to run an artifact on this machine, and keep it for `precision="auto"`.

    What is measured is kept in the cache as it is measured: another call goes on where this one ended, or was
    interrupted.

    Args:
        path: An artifact folder.
        budget_seconds: How long to measure. Less is taken if there is nothing left to learn.
        prefer: "latency" of single texts, "throughput" of batches, or "memory".
        provider: "cpu" and so on, or "auto" for the one that `Model.load` picks.
        texts: Texts, or mappings with `text` and `text_pair`, on which the precisions are compared with fp32, each
            text alone; long ones are cut.
        cache_dir: The cache; by default ORTOLAN_CACHE, else the user's cache folder.
        fresh: Forget what was measured before.

    Returns:
        All ways with what was measured of them, and the choice.

    Raises:
        ArtifactError: The artifact or the provider can't be used, as for `Model.load`.
        ConfigError: A budget that leaves no time for one way, an unknown preference or provider, texts without fp32
            to compare with, or a cache that can't be written.
        InvalidInputError: A text that can't be read.
        SessionError: Every way that was tried has a fault.
    """
    from ortolan.tune.run import run  # here, so that `import ortolan` stays quick

    options = TuneOptions(
        budget_seconds=budget_seconds,
        prefer=prefer,
        provider=provider,
        cache_dir=None if cache_dir is None else Path(cache_dir),
        fresh=fresh,
    )
    return run(path, options, texts)
