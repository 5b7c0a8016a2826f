"""The events of one container, as its engine reports them (Docker Engine API, ``GET /events``).

Docker keeps the last 256 events of all containers in memory, so a request at the end can miss the first ones. A stream that
was opened before has them all. Podman keeps its events in a file or in the journal, or nowhere (``events_logger`` of
containers.conf(5)). It returns nothing for a request with ``until``, so that parameter is left out.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bundler.engines import answers
from bundler.engines.answers import BadAnswer, EventLine
from bundler.engines.connection import STREAM_ERRORS, STREAM_TIMEOUTS, TIMEOUT, Client, Response, errors, read_lines, url
from bundler.errors import EngineError

QUIET = 2.0
"""Seconds without a new event after which the stream counts as complete."""

MAX_EVENTS = 100_000
"""Largest number of events that are read of one container."""
MAX_ACTION = 200
"""Largest length of an action that is kept."""

_EPOCH = datetime.fromtimestamp(0, UTC)
_SECOND = 1_000_000_000  # in nanoseconds


@dataclass(frozen=True, order=True)
class Event:
    """An event of a container; ``time`` is in nanoseconds, by the engine's clock."""

    time: int
    action: str


class EventLog:
    """The events of one container from the creation of this object on. Close it."""

    def __init__(self, api: Client, container_id: str, *, is_podman: bool) -> None:
        self._api = api
        self._is_podman = is_podman
        self._filters = json.dumps({"container": [container_id]})
        self._since = self._now()
        self._stream = None if is_podman else self._follow()

    def close(self) -> None:
        if self._stream:
            self._stream.close()

    def after(self, first: Event | None) -> list[Event] | None:
        """Return all events from ``first`` on, or from the beginning; None if the engine has forgotten ``first``."""
        events = self._request()
        if first and first not in events:
            events = sorted({*events, *self._streamed()})
        if first and first not in events:
            return None
        return [event for event in events if not first or event >= first]

    def _request(self) -> list[Event]:
        """Request the events that the engine still has; none if it keeps no events."""
        parameters = {"since": str(self._since // _SECOND), "filters": self._filters}
        if self._is_podman:
            parameters["stream"] = "false"
        else:
            now = self._now()
            parameters["until"] = f"{now // _SECOND}.{now % _SECOND:09}"
        with errors(self._api, "requesting the events of the container"):
            response = self._api.get(url(self._api, "/events"), params=parameters, timeout=TIMEOUT)
            if not response.ok:
                return []  # Podman with events_logger = "none", for example
            return self._parsed(response.content.splitlines())

    def _follow(self) -> Response | None:
        """Open a stream of all events from now on; None if the engine does not begin it at once."""
        with contextlib.suppress(EngineError), errors(self._api, "following the events of the container"):
            parameters = {"since": str(self._since // _SECOND), "filters": self._filters}
            response = self._api.get(url(self._api, "/events"), params=parameters, stream=True, timeout=(TIMEOUT, QUIET))
            response.raise_for_status()
            return response
        return None

    def _streamed(self) -> list[Event]:
        """Return the events of the stream; none if it broke, because events can be missing then."""
        events: list[Event] = []
        if not self._stream:
            return events
        with errors(self._api, "reading the events of the container"):
            try:
                for line in read_lines(self._stream, TIMEOUT):
                    events += self._parsed([line])
                    if len(events) > MAX_EVENTS:
                        raise BadAnswer(f"it has more than {MAX_EVENTS} events")
            except STREAM_TIMEOUTS:
                return events
            except STREAM_ERRORS:
                return []
        return []

    def _parsed(self, data: Iterable[bytes]) -> list[Event]:
        lines = (answers.read(EventLine, answers.parse(line)) for line in data if line.strip())
        # The request has whole seconds.
        return [Event(line.time_nano, line.action[:MAX_ACTION]) for line in lines if line.time_nano >= self._since]

    def _now(self) -> int:
        """Read the engine's clock, in nanoseconds."""
        with errors(self._api, "requesting the engine's time"):
            time = answers.read(answers.Info, self._api.info()).system_time
            try:
                return (datetime.fromisoformat(time) - _EPOCH) // timedelta(microseconds=1) * 1000
            except (ValueError, TypeError) as error:
                raise BadAnswer(f"SystemTime: {error}") from error
