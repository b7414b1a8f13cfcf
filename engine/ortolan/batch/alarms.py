"""Alarms of requests with a deadline: who has to be looked at, and when."""

from __future__ import annotations

import heapq
import math
from itertools import count

from ortolan.batch.tickets import Ticket

STALE = 64
"""So many alarms of requests that have ended may be kept: clearing each away at once would take longer."""


class Alarms:
    """The soonest alarm first."""

    def __init__(self) -> None:
        self._alarms: list[tuple[float, int, Ticket]] = []
        self._numbers = count()
        self._num_stale = 0

    @property
    def next(self) -> float:
        """When the next one is; infinity if there is none."""
        return self._alarms[0][0] if self._alarms else math.inf

    def set(self, ticket: Ticket, time: float) -> None:
        """Set the alarm of a request, which has none."""
        heapq.heappush(self._alarms, (time, next(self._numbers), ticket))

    def pop(self, now: float) -> Ticket | None:
        """Take the next request whose alarm is over; None if there is none. Those that have ended are passed over."""
        while self._alarms and self._alarms[0][0] < now:
            _, _, ticket = heapq.heappop(self._alarms)
            if not ticket.is_settled:
                return ticket
            self._num_stale = max(0, self._num_stale - 1)
        return None

    def forget(self, ticket: Ticket) -> None:
        """Note that a request has ended, and clear alarms away that nobody needs before they are too many."""
        if ticket.due == math.inf:
            return
        self._num_stale += 1
        if self._num_stale > max(STALE, len(self._alarms) // 2):
            self._alarms = [alarm for alarm in self._alarms if not alarm[2].is_settled]
            heapq.heapify(self._alarms)
            self._num_stale = 0
