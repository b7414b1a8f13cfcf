"""`ortolan verify`: is an artifact as it was exported?"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ortolan.commands.flags import folder_command
from ortolan.verify import verify


def parser() -> argparse.ArgumentParser:
    """Make the parser of `ortolan verify`."""
    return folder_command("verify", "Check every hash of an artifact, and replay its golden inputs on the CPU.")


def act(flags: argparse.Namespace) -> int:
    """Run `ortolan verify`."""
    checks = verify(Path(flags.folder))
    if flags.json:
        document = [{"check": c.name, "passed": c.passed, "detail": c.detail} for c in checks]
        print(json.dumps(document, ensure_ascii=False))
    else:
        for check in checks:
            print(f"{'ok' if check.passed else 'FAILED':<7} {check.name}: {check.detail}")
    failed = [check.name for check in checks if not check.passed]
    if failed:
        print(f"ortolan verify: error: {flags.folder} failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0
