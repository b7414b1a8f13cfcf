"""A service with WSGI: threads of a server share one `ortolan.Engine`.

    python examples/wsgi_service.py [ARTIFACT]               # without it, the default model
    curl localhost:8000/classify --json '{"texts": ["What a day!"]}' -H 'X-Deadline-Ms: 50'
    ORTOLAN_ARTIFACT=my-artifact gunicorn --threads 32 examples.wsgi_service:application

A server that forks its workers after it has loaded the app (`gunicorn --preload`, uWSGI) copies an engine's memory but
none of its threads: in the child nobody would answer. So each process makes an engine of its own when its first request
comes. Give each its share of the processors (`Engine(num_threads=...)`), or have one process with more threads.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import math
import os
import sys
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIServer, make_server

import ortolan

MAX_BYTES = 1_000_000
MAX_MS = 30_000.0
STATUS: list[tuple[type[ortolan.OrtolanError], str]] = [  # the first that fits, else 500
    (ortolan.InputTooLongError, "413 Content Too Large"),
    (ortolan.QueueFullError, "429 Too Many Requests"),
    (ortolan.DeadlineError, "504 Gateway Timeout"),
    (ortolan.ClosedError, "503 Service Unavailable"),
    (ortolan.RequestError, "400 Bad Request"),
    (ortolan.ConfigError, "400 Bad Request"),  # the only option that a client sets is its deadline
]


class Application:
    """POST /classify, for text-classification."""

    def __init__(self, artifact: str | None = None) -> None:
        self._artifact = artifact
        self._lock = threading.Lock()
        self._engine: ortolan.Engine | None = None

    def engine(self) -> ortolan.Engine:
        """The engine of this process, started."""
        with self._lock:
            if self._engine is None:
                self._engine = ortolan.Engine(ortolan.pipeline("text-classification", self._artifact)).start()
            return self._engine

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request, as PEP 3333 has it."""
        headers = [("Content-Type", "application/json")]
        try:
            status, body = "200 OK", self._answer(*_read(environ))
        except ortolan.OrtolanError as error:
            status = next((status for kind, status in STATUS if isinstance(error, kind)), "500 Internal Server Error")
            body = {"error": type(error).__name__, "detail": "internal error" if status[:3] == "500" else str(error)}
            if isinstance(error, ortolan.QueueFullError):
                headers.append(("Retry-After", str(math.ceil(error.retry_after_ms / 1e3))))
        start_response(status, headers)
        return [json.dumps(body).encode()]

    def _answer(self, texts: Any, deadline_ms: float) -> Any:
        future = self.engine().submit_nowait(texts, deadline_ms=deadline_ms)
        try:
            return future.result(timeout=deadline_ms / 1e3)
        except concurrent.futures.TimeoutError:
            future.cancel()  # a thread that waits no longer says so, or its request still runs
            raise ortolan.DeadlineError("an answer requested", "it is late", "retry", deadline_ms=deadline_ms) from None


def _read(environ: dict[str, Any]) -> tuple[Any, float]:
    """Texts, and how long their answers may take."""
    try:
        num_bytes = int(environ["CONTENT_LENGTH"])
        if not 0 < num_bytes <= MAX_BYTES:
            raise ValueError(f"{num_bytes} bytes")
        texts = json.loads(environ["wsgi.input"].read(num_bytes))["texts"]
        return texts, min(float(environ.get("HTTP_X_DEADLINE_MS", MAX_MS)), MAX_MS)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ortolan.InvalidInputError("an answer requested", repr(error), 'send {"texts": [...]}') from error


class ThreadingServer(ThreadingMixIn, WSGIServer):
    """A thread for each request; for tries, not for the open internet."""


application = Application(os.environ.get("ORTOLAN_ARTIFACT"))

if __name__ == "__main__":
    own = Application(*sys.argv[1:2])
    with make_server("", 8000, own, server_class=ThreadingServer) as server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    own.engine().drain()
    own.engine().close()
