"""The events of one container, as its engine reports them (Docker Engine API, ``GET /events``).

Docker keeps the last 256 events of all containers in memory, so a question that is asked at the end can miss the beginning. A
stream that was opened before has them all. Podman keeps its events in a file or in the journal, or nowhere (``events_logger``
of containers.conf(5)); it answers a question that has an ``until`` with nothing, so it is asked for all that came since.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPException

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from bundler.engines import answers
from bundler.engines.answers import BadAnswer, EventLine
from bundler.engines.connection import TIMEOUT, Client, errors, lines, url
from bundler.errors import EngineError

QUIET = 2.0
"""Seconds without a new event after which the stream has given all that it had."""

MOST = 100_000
"""Most events that are read of one container."""
LONGEST = 200
"""Longest name of an event that is kept."""

_EPOCH = datetime.fromtimestamp(0, UTC)
_SECOND = 1_000_000_000  # in nanoseconds


@dataclass(frozen=True, order=True)
class Event:
    """Something that happened to a container; ``time`` is in nanoseconds, by the engine's clock."""

    time: int
    action: str


class EventLog:
    """The events of one container from the moment at which this is made. Close it."""

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
        """Everything from the event ``first`` on, or from the beginning; None where the engine does not know it any more."""
        found = self._ask()
        if first and first not in found:
            found = sorted({*found, *self._recorded()})
        if first and first not in found:
            return None
        return [event for event in found if not first or event >= first]

    def _ask(self) -> list[Event]:
        """The events that the engine remembers; none where it keeps no events."""
        parameters = {"since": str(self._since // _SECOND), "filters": self._filters}
        if self._is_podman:
            parameters["stream"] = "false"
        else:
            now = self._now()
            parameters["until"] = f"{now // _SECOND}.{now % _SECOND:09}"
        with errors(self._api, "asking for the events of the container"):
            response = self._api.get(url(self._api, "/events"), params=parameters, timeout=TIMEOUT)
            if not response.ok:
                return []  # such as Podman with events_logger = "none"
            return self._parsed(response.content.splitlines())

    def _follow(self) -> requests.Response | None:
        """A stream of all events from now on; None where the engine does not begin it at once."""
        with contextlib.suppress(EngineError), errors(self._api, "following the events of the container"):
            parameters = {"since": str(self._since // _SECOND), "filters": self._filters}
            response = self._api.get(url(self._api, "/events"), params=parameters, stream=True, timeout=(TIMEOUT, QUIET))
            response.raise_for_status()
            return response
        return None

    def _recorded(self) -> list[Event]:
        """What the stream has brought so far; nothing where it broke, as something can be missing then."""
        found: list[Event] = []
        if not self._stream:
            return found
        with errors(self._api, "reading the events of the container"):
            try:
                for line in lines(self._stream, TIMEOUT):
                    found += self._parsed([line])
                    if len(found) > MOST:
                        raise BadAnswer(f"it has more than {MOST} events")
            except (TimeoutError, ReadTimeoutError):
                return found
            except (HTTPException, HTTPError, OSError):
                return []
        return []

    def _parsed(self, found: Iterable[bytes]) -> list[Event]:
        told = (answers.read(EventLine, answers.parse(line)) for line in found if line.strip())
        # The engine is asked by whole seconds.
        return [Event(line.time_nano, line.action[:LONGEST]) for line in told if line.time_nano >= self._since]

    def _now(self) -> int:
        """The engine's clock, in nanoseconds."""
        with errors(self._api, "asking the engine for its time"):
            told = answers.read(answers.Info, self._api.info()).system_time
            try:
                return (datetime.fromisoformat(told) - _EPOCH) // timedelta(microseconds=1) * 1000
            except (ValueError, TypeError) as error:
                raise BadAnswer(f"SystemTime: {error}") from error
