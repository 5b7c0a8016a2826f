"""What we remember lies where nobody else can write, and is the owner's alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundler.engines import pause_guard, temporary_objects
from bundler.engines.base_listing_cache import BaseListingCache
from bundler.errors import TrustError
from bundler.format.content import Digest
from bundler.format.reference import LocalReference
from bundler.format.tar import Kind
from bundler.format.whiteouts import Listed
from bundler.localfs import private_file, state_directory
from bundler.stores.layout.local import LocalStore
from bundler.stores.layout.verified_cache import is_noted, note
from bundler.trust import rollback

ONE = Digest.of(b"one")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of somebody who lets everybody write everywhere."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home" / "state"))
    monkeypatch.setenv("FPS_BUNDLE_STORE", str(tmp_path / "home" / "store"))
    mask = os.umask(0)
    yield tmp_path / "home"
    os.umask(mask)


def keep_listing(state: Path) -> None:
    list(BaseListingCache(state / "listings").keep(ONE, ["/s"], [Listed("/s", Kind.FILE)]))


def find_listing(state: Path) -> None:
    BaseListingCache(state / "listings").find(ONE, ["/s"])


def hold(state: Path) -> None:
    with state_directory.hold("image", "x"):
        assert (state / "locks").is_dir()


def make_temporary(state: Path) -> None:
    with temporary_objects.noted(state, "unix:///engine", "image"):
        pass


def number(state: Path) -> None:
    rollback.next_sequence(state, None)


def use_store(_: Path) -> None:
    LocalStore(LocalReference("x", "1"))


def verified(_: Path) -> None:
    note(ONE, 1)


WRITERS = [keep_listing, hold, make_temporary, number, use_store, verified]


@pytest.mark.parametrize("write", WRITERS)
def test_whatever_the_umask_nobody_else_gets_in(write: Callable[[Path], None], home: Path) -> None:
    write(state_directory.directory())
    found = {path: path.stat().st_mode & 0o777 for path in (home, *home.rglob("*"))}
    files = {path: mode for path, mode in found.items() if path.is_file()}
    assert files
    assert set(files.values()) == {0o600}
    assert {found[path.parent] for path in files} == {0o700}


@pytest.mark.parametrize(
    ("place", "use"),
    [
        ("listings", keep_listing),
        ("listings", find_listing),
        ("locks", hold),
        ("temporary", make_temporary),
        ("temporary", lambda state: temporary_objects.sweep(state, "unix:///engine", {})),
        ("paused", lambda state: list(pause_guard.abandoned(state))),
        (".", number),
    ],
)
@pytest.mark.parametrize("spoil", ["written", "given away", "link"])
def test_what_lies_where_others_can_write_is_neither_used_nor_written(
    place: str, use: Callable[[Path], object], spoil: str, tmp_path: Path
) -> None:
    state = state_directory.directory()
    directory = state / place
    private_file.make_directory(directory)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if spoil == "written":
        directory.chmod(0o770)
    elif os.geteuid():
        pytest.skip("only root can give files away")
    elif spoil == "given away":
        os.chown(directory, 12345, 12345)
    else:
        directory.rmdir()
        directory.symlink_to(elsewhere)
        os.chown(directory, 12345, 12345, follow_symlinks=False)
    with pytest.raises(TrustError) as caught:
        use(state)
    assert caught.value.hint
    assert list(elsewhere.iterdir()) == []


def test_a_directory_that_the_user_put_elsewhere_is_used(tmp_path: Path) -> None:
    state = state_directory.directory()
    state.parent.mkdir(parents=True)
    (tmp_path / "large").mkdir(mode=0o700)
    state.symlink_to(tmp_path / "large")
    note(ONE, 1)
    assert is_noted(ONE, 1)
    assert (tmp_path / "large" / "verified").is_dir()


def test_nothing_is_abandoned_where_nothing_was_noted() -> None:
    assert list(pause_guard.abandoned(state_directory.directory())) == []
