"""Exit code 12: another fps-bundle holds what this one needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.errors import INTERRUPTED, BundlerError, BusyError
from bundler.localfs import locks, state_directory
from bundler.trust import rollback


def hold_a_container(_: Path) -> None:
    with state_directory.hold("container", "x" * 64):
        pass


def check_nothing_older(state: Path) -> None:
    with rollback.RollbackRecords(state).advancing((), None):
        pass


def take_a_number(state: Path) -> None:
    rollback.next_sequence(state, None)


@pytest.mark.parametrize(
    ("lock", "work"),
    [
        (f"container-{'x' * 64}", hold_a_container),
        ("file-applied.json", check_nothing_older),
        ("file-sequence.json", take_a_number),
    ],
)
def test_a_lock_of_another_process_is_exit_code_12(
    lock: str, work: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(rollback, "WAIT", 0)
    state = state_directory.directory()
    work(state)
    with locks.locked(state / "locks" / f"{lock}.lock", "it"), pytest.raises(BusyError, match="another fps-bundle") as caught:
        work(state)
    assert (caught.value.exit_code, bool(caught.value.hint)) == (12, True)
    work(state)


def test_no_two_kinds_of_errors_share_an_exit_code() -> None:
    codes = [kind.exit_code for kind in (BundlerError, *BundlerError.__subclasses__())]
    assert sorted({*codes, *INTERRUPTED.values()}) == [*range(1, 13), 129, 130, 143]
    assert len(codes) == len(set(codes))
