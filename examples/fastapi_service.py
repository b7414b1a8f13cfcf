"""A service with FastAPI: `ortolan.Engine` in the event loop of an ASGI server.

    pip install 'ortolan[cpu,serve]'
    ORTOLAN_ARTIFACT=my-artifact uvicorn examples.fastapi_service:app    # without it, the default model
    curl localhost:8000/classify --json '{"texts": ["What a day!", "It rained again."]}' -H 'X-Deadline-Ms: 50'

One worker process is enough: the engine uses all processors. Each further one would load the model again, and batch
only the requests that it gets itself.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

import ortolan

STATUS: list[tuple[type[ortolan.OrtolanError], int]] = [  # the first that fits, else 500
    (ortolan.InputTooLongError, 413),
    (ortolan.RequestError, 400),
    (ortolan.QueueFullError, 429),
    (ortolan.DeadlineError, 504),
    (ortolan.ClosedError, 503),
]


class Question(BaseModel):
    """The body of a request."""

    texts: str | Annotated[list[str], Field(max_length=64)]


def create_app(artifact: str | None = None) -> FastAPI:
    """Make the app.

    Args:
        artifact: Folder of an artifact for text-classification; None for the default model.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pipe = await asyncio.to_thread(ortolan.pipeline, "text-classification", artifact)
        async with ortolan.Engine(pipe) as engine:  # leaving it answers what waits
            app.state.engine = engine
            yield

    app = FastAPI(lifespan=lifespan)

    @app.exception_handler(ortolan.OrtolanError)
    async def explain(_: Request, error: ortolan.OrtolanError) -> JSONResponse:
        status = next((status for kind, status in STATUS if isinstance(error, kind)), 500)
        headers = {}
        if isinstance(error, ortolan.QueueFullError):
            headers["Retry-After"] = str(math.ceil(error.retry_after_ms / 1e3))
        # what went wrong inside is for the log, not for whoever asked
        detail = str(error) if status < 500 or isinstance(error, ortolan.CapacityError) else "internal error"
        return JSONResponse({"error": type(error).__name__, "detail": detail}, status, headers)

    @app.post("/classify")
    async def classify(
        question: Question,
        request: Request,
        x_deadline_ms: Annotated[float | None, Header(gt=0, allow_inf_nan=False)] = None,
    ) -> Any:
        engine: ortolan.Engine = request.app.state.engine
        # Nobody cancels an endpoint whose client goes away: ASGI only says so, to whoever asks for the next message.
        answer = asyncio.create_task(engine.submit(question.texts, deadline_ms=x_deadline_ms))
        gone = asyncio.create_task(_until_gone(request))
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            return answer.result() if answer.done() else Response(status_code=499)  # which nobody reads
        finally:
            gone.cancel()
            answer.cancel()  # a request that still waits is dropped, and never runs

    return app


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


app = create_app(os.environ.get("ORTOLAN_ARTIFACT"))
