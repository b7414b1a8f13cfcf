"""Results and rows as JSON, and as a line of CSV."""

from __future__ import annotations

import base64
import csv
import datetime as dt
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any


def to_json(value: object) -> str:
    """Write a value as JSON on one line.

    Args:
        value: What JSON knows, and besides: arrays, which become lists; times, as ISO 8601 has them; bytes, in Base64;
            NaN and infinities, which become null; and anything else as its text.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=_plain)
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON may hold half of a surrogate pair, UTF-8 may not
        text = json.dumps(json.loads(text))
    return text


def csv_line(values: Iterable[object]) -> str:
    """Write values as a line of CSV: texts as they are, None as nothing, all else as JSON."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow([_cell(value) for value in values])
    return buffer.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return to_json(value)
        return value
    return to_json(value)


def _plain(value: object) -> object:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _finite(value: Any) -> Any:
    """The same with None for what is not finite."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return _finite(value.tolist()) if hasattr(value, "tolist") else value
