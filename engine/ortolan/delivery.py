"""Bringing results to those who wait for them: in threads, or in event loops."""

from __future__ import annotations

import asyncio
import copy
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from ortolan.errors import OrtolanError
from ortolan.response import Response, Timing


@dataclass(frozen=True, slots=True)
class Order:
    """Who waits for an answer, and in which form.

    Attributes:
        mailbox: Of the event loop that the future belongs to; None for a future of `concurrent.futures`.
        future: What is settled.
        wants_timing: Whether a `Response` is wanted.
    """

    mailbox: Mailbox | None
    future: Any
    wants_timing: bool


class Mailbox:
    """Brings results to an event loop; those of a batch together, for waking it up takes time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._letters: deque[tuple[asyncio.Future[Any], Any]] = deque()
        self._is_called = False

    def post(self, future: asyncio.Future[Any], outcome: Any) -> None:
        """Settle a future of the loop; from any thread."""
        self._letters.append((future, outcome))
        if self._is_called or (loop := self._loop()) is None:
            return
        self._is_called = True
        try:
            loop.call_soon_threadsafe(self._empty)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self._letters.clear()

    def _empty(self) -> None:
        self._is_called = False
        while self._letters:
            future, outcome = self._letters.popleft()
            if not future.done():
                _settle(future, outcome)


class Timed(Protocol):
    """What knows where the time of a request went; see `Timing`."""

    tokenize_seconds: float
    postprocess_seconds: float
    batch_size: int

    @property
    def queue_seconds(self) -> float:
        """Until its first text ran."""

    @property
    def run_seconds(self) -> float:
        """Of the runs that its texts were in."""

    @property
    def padding_share(self) -> float:
        """Which part of the tokens of these runs was padding."""


def deliver(order: Order, ticket: Timed, outcome: Any) -> None:
    """Tell who waits for the answer to a request.

    Args:
        order: Who that is.
        ticket: The request, which knows where its time went.
        outcome: The result, or the `OrtolanError` in its place.
    """
    if isinstance(outcome, OrtolanError):
        cause, outcome = outcome.__cause__, copy.copy(outcome)  # several requests may fail of the same error
        outcome.__cause__ = cause
    elif order.wants_timing:
        outcome = Response(outcome, _timing(ticket))
    if order.mailbox is not None:
        order.mailbox.post(order.future, outcome)
    elif order.future.set_running_or_notify_cancel():
        _settle(order.future, outcome)


def _settle(future: Any, outcome: Any) -> None:
    if isinstance(outcome, OrtolanError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _timing(ticket: Timed) -> Timing:
    return Timing(
        tokenize_ms=ticket.tokenize_seconds * 1e3,
        queue_ms=ticket.queue_seconds * 1e3,
        run_ms=ticket.run_seconds * 1e3,
        postprocess_ms=ticket.postprocess_seconds * 1e3,
        batch_size=ticket.batch_size,
        padding_share=ticket.padding_share,
    )
