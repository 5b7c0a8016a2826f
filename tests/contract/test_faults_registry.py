"""Requests of a push and of a pull are failed once, in turn: the outcome is exact, or an error from which the next run recovers.

The soak fails every request.
"""

from __future__ import annotations

import itertools
import os
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import faults
import pytest
import tally
from bundles import noise, verified
from exchange import Fault
from fakes import MemoryStore, RecordingProgress
from faultproxy import FaultProxy, fault_proxy
from links import PATIENT, standing, store
from places import files_below

from bundler.errors import BundlerError
from bundler.ports import Store
from bundler.stores.layout.store import LayoutStore
from bundler.verbs import copy

FULL = os.environ.get("FPS_BUNDLE_FAULTS") == "full"
LONGEST = 600
"""Seconds after which a run with a fault hangs: far more than all attempts take together, on any machine."""
CLEAN = (5, 7, 8)
"""Exit codes of errors that a link or a registry can be the reason of."""

FAULTS = [
    faults.answer(503),
    faults.reset(),
    faults.lost_reply(),
    faults.unauthorized(),
    faults.unauthorized(after=1000),
    faults.busy(),
    faults.answer(500),
    faults.reset_within_request(),
    faults.reset_within_reply(),
    faults.wrong_length(+7),
    faults.wrong_length(-7),
    faults.other_size(+7),
    faults.other_size(-7),
    faults.flip(),
    faults.page(),
    faults.whole(),
    faults.other_range(),
]
SILENT = 1.0
"""Seconds without a byte after which a request is given up, where the fault is that none comes; a busy registry takes less."""
SLOW = [faults.silence(), faults.stall(), faults.trickle()]
FAULTS += SLOW
SAMPLE = 3
"""How many requests of a run a fault happens to outside the soak."""
ONCE, ALWAYS = 1, 1_000_000
CASES = [(fault, ONCE) for fault in FAULTS] + [
    (fault, ALWAYS) for fault in (FAULTS if FULL else [faults.reset(), faults.answer(503), faults.page()])
]

_numbers = itertools.count()


@dataclass(frozen=True)
class Direction:
    """A copy through the proxy: ``open`` gives its ends for a run and a timeout, ``stands`` what is in the target."""

    name: str
    open: Callable[[int, float], tuple[Store, Store]]
    stands: Callable[[int], str]

    def run(self, number: int, timeout: float = PATIENT) -> str:
        source, target = self.open(number, timeout)
        return str(copy.copy(source, target, RecordingProgress()).bundle.digest)


@pytest.fixture(scope="module")
def source() -> MemoryStore:
    return noise(300_000)


@pytest.fixture
def proxy(registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with fault_proxy(registry) as proxy:
        yield proxy


@pytest.fixture(params=["push", "pull"])
def direction(request: pytest.FixtureRequest, proxy: FaultProxy, registry: str, source: MemoryStore, tmp_path: Path) -> Direction:
    if request.param == "push":
        return Direction(
            "push",
            lambda number, timeout: (source, store(proxy.address, f"faults/{number}", timeout=timeout)),
            lambda number: standing(registry, f"faults/{number}"),
        )
    copy.copy(source, store(registry, "faults/source"), RecordingProgress())
    return Direction(
        "pull",
        lambda number, timeout: (store(proxy.address, "faults/source", timeout=timeout), LayoutStore(tmp_path / str(number), "1")),
        lambda number: standing_in(tmp_path / str(number)),
    )


def standing_in(path: Path) -> str:
    """The digest of the bundle in a layout, after every byte of it was read; empty when nothing has a name."""
    assert not [found for found in files_below(path) if found.name.startswith(".fps-bundle-part-")]
    layout = LayoutStore(path, "1")
    return str(verified(layout)) if path.exists() and layout.names() else ""


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("fault", "times"), CASES, ids=lambda value: {ONCE: "once", ALWAYS: "from then on"}.get(value, str(value)))
def test_requests_are_failed_in_turn(
    proxy: FaultProxy, direction: Direction, source: MemoryStore, fault: Fault, times: int
) -> None:
    fail_in_turn(proxy, direction, str(source.tags["1"].digest), fault, times)


def test_requests_are_sent_on_to_another_host_in_turn(
    proxy: FaultProxy, direction: Direction, source: MemoryStore, registry: str
) -> None:
    with fault_proxy(registry) as other:
        fail_in_turn(proxy, direction, str(source.tags["1"].digest), faults.redirect(other.address), ONCE)


def fail_in_turn(proxy: FaultProxy, direction: Direction, expected: str, fault: Fault, times: int) -> None:
    problems = []
    for request in requests_of(proxy, direction, fault):
        number = next(_numbers)
        proxy.forget()
        proxy.fail(fault, since=request, times=times)
        try:
            outcome = attempt(proxy, direction, number, expected, SILENT if fault in SLOW else PATIENT)
        except AssertionError as problem:
            problems.append(f"{fault} at {told(proxy)}: {problem}".splitlines()[0])
            continue
        if proxy.injected:
            tally.count(f"faults injected into a {direction.name}", outcome, proxy.injected)
            proxy.forget()
            assert direction.run(number) == direction.stands(number) == expected, "the next run did not make it good"
            if fault in SLOW and not FULL:
                break  # each costs a timeout
    assert problems == []


def requests_of(proxy: FaultProxy, direction: Direction, fault: Fault) -> list[int]:
    """The numbers of the requests of a run; outside the soak one of its beginning, middle and end, others for each fault."""
    direction.run(next(_numbers))
    count = len(proxy.records)
    assert count > SAMPLE
    offset = zlib.crc32(fault.name.encode()) % count
    return list(range(count)) if FULL else [(part * count + offset) // SAMPLE for part in range(SAMPLE)]


def attempt(proxy: FaultProxy, direction: Direction, number: int, expected: str, timeout: float) -> str:
    """One run with a fault in it; says how it ended when that is as it should be.

    That a tag stands can only be unknown to whoever was given no answer at all to writing it and to looking at it.
    """
    began = time.monotonic()
    failure = None
    try:
        assert direction.run(number, timeout) == expected
    except BundlerError as error:
        failure = error
    assert time.monotonic() - began < LONGEST, "it took too long"
    stands = direction.stands(number)
    if failure is None:
        assert stands == expected, f"it was told as done, and {stands or 'nothing'} stands"
        return "exact"
    assert failure.exit_code in CLEAN, f"exit {failure.exit_code}: {failure}"
    if stands == expected and not was_heard(proxy):
        return "whole, but no answer said so"
    assert stands == "", f"it was told as failed ({failure}), and {stands} stands"
    return "clean errors"


def was_heard(proxy: FaultProxy) -> bool:
    """Whether the registry got an answer through about the tag, since it was first asked to write it."""
    about = [record for record in proxy.records if record.path.endswith("/manifests/1")]
    written = itertools.dropwhile(lambda record: record.method != "PUT", about)
    return any(record.status and not record.fault for record in written)


def told(proxy: FaultProxy) -> str:
    hit = [f"{number} {record.method} {record.path}" for number, record in enumerate(proxy.records) if record.fault]
    return ", ".join(hit[:3]) or "nothing"
