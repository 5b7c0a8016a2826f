"""Our own files, replaced, unreadable, another user's or on a read-only medium: told, with the remedy, and left as they are."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import shutil
import signal
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sshkeys
from bundles import bundle
from disks import run as run_program
from fakes import MemoryStore, RecordingProgress
from typer.testing import CliRunner

from bundler.cli.main import app
from bundler.engines import pause_guard, temporary_objects
from bundler.engines.base_listing_cache import BaseListingCache
from bundler.errors import BundlerError
from bundler.format.content import Digest
from bundler.format.tar import Kind
from bundler.format.whiteouts import Listed
from bundler.localfs.atomic_file import keep_part
from bundler.stores.archive.store import ArchiveStore
from bundler.stores.layout import local, verified_cache
from bundler.stores.registry import upload_record
from bundler.trust import rollback
from bundler.trust.policy import TrustedSigner
from bundler.verbs import copy

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away and mount")

OTHER = 12345
"""Another user."""
SECONDS = 30
"""For which one action may take; each takes far less."""
ONE = Digest.of(b"one")
URL = "unix:///engine"


@dataclass(frozen=True)
class Home:
    """A user's directories, with an archive and a key beside them."""

    path: Path

    @property
    def state(self) -> Path:
        return self.path / "state" / "fps-bundle"

    @property
    def store(self) -> Path:
        return self.path / "store"

    @property
    def archive(self) -> Path:
        return self.path / "work" / "bundle.tar"

    @property
    def key(self) -> Path:
        return self.path / "work" / "key"

    def contents(self) -> Mapping[str, object]:
        """What every file is and holds, but for the locks."""
        return {str(path): _content(path) for path in sorted(self.path.rglob("*")) if path.suffix != ".lock"}


def _content(path: Path) -> object:
    found = path.lstat()
    return (stat.S_IFMT(found.st_mode), path.read_bytes() if stat.S_ISREG(found.st_mode) else None)


@pytest.fixture(scope="module")
def new_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home that is never used, of which each test gets a copy."""
    made = Home(tmp_path_factory.mktemp("new") / "home")
    made.archive.parent.mkdir(parents=True)
    source = MemoryStore()
    bundle(source)
    copy.copy(source, ArchiveStore(made.archive), RecordingProgress())
    sshkeys.key(made.key)
    return made


@pytest.fixture
def home(new_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    made = Home(tmp_path / "home")
    for name, place in {"XDG_STATE_HOME": "state", "XDG_CONFIG_HOME": "config", "FPS_BUNDLE_STORE": "store"}.items():
        monkeypatch.setenv(name, str(made.path / place))
    shutil.copytree(new_home.path, made.path)
    return made


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Own, Home], None]:
    """Use a file of ours twice, or copy the home where that was done before: the action takes longer than the copy."""
    homes: dict[Own, Path] = {}

    def use(own: Own, home: Home) -> None:
        if own in homes:
            shutil.rmtree(home.path)
            shutil.copytree(homes[own], home.path)
            return
        said = tmp_path_factory.mktemp("used") / "said"
        assert outcome(own.use, home, said) == 0, said.read_text()
        own.path(home)
        assert outcome(own.use, home, said) == 0, said.read_text()
        homes[own] = said.with_name("home")
        shutil.copytree(home.path, homes[own])

    return use


@dataclass(frozen=True)
class Own:
    """One of our own files or directories, and what uses it; ``cache`` where a run can do without its content."""

    path: Callable[[Home], Path]
    use: Callable[[Home], int]
    cache: bool = False


def command(*arguments: str) -> Callable[[Home], int]:
    """A command, in whose arguments ``{archive}`` and ``{key}`` are replaced; it says on stderr what it says."""

    def run(home: Home) -> int:
        result = CliRunner().invoke(app, [it.format(archive=home.archive, key=home.key) for it in arguments])
        os.write(2, result.stderr.encode())
        return result.exit_code

    return run


def calling(function: Callable[[Home], object]) -> Callable[[Home], int]:
    """A function of ours, as a command would tell of its error."""

    def run(home: Home) -> int:
        try:
            function(home)
        except BundlerError as error:
            os.write(2, f"{error.message}\n{error.hint} {error.command}\n".encode())
            return error.exit_code if error.hint else 98
        return 0

    return run


def check_ledger(home: Home) -> None:
    claims = rollback.records_of([TrustedSigner("alice", 1)], "Model", None, "detector", ONE)
    with rollback.RollbackRecords(home.state).advancing(claims, None):
        pass


def abandoned(home: Home) -> None:
    list(pause_guard.abandoned(home.state))


def note_engine(home: Home) -> None:
    temporary_objects.sweep(home.state, URL, {"image": lambda _: False})
    with temporary_objects.noted(home.state, URL, "image"):
        pass


def use_listing(home: Home) -> None:
    listings = BaseListingCache(home.state / "listings")
    if listings.find(ONE, ["/s"]) is None:
        list(listings.keep(ONE, ["/s"], [Listed("/s", Kind.FILE)]))


def use_record(_: Home) -> None:
    record = upload_record.UploadRecord("registry", ONE, upload_record.LEAST_SIZE)
    with record.held():
        record.remember("repository", "session")
        record.repositories()


def use_part(home: Home) -> None:
    local.use()
    with keep_part(home.store / "blobs" / "sha256", "key") as part:
        part.begun(100)
        part.write(b"half")


def left_note(directory: str) -> Callable[[Home], Path]:
    """A note that a dead process left."""

    def path(home: Home) -> Path:
        found = home.state / directory / "image-dead.json"
        found.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not found.exists():
            found.write_text(json.dumps({"host": URL, "kind": "image", "name": "x"}))
        return found

    return path


def in_state(name: str) -> Callable[[Home], Path]:
    return lambda home: home.state / name


def in_store(name: str) -> Callable[[Home], Path]:
    return lambda home: home.store / name


def only(directory: str, pattern: str) -> Callable[[Home], Path]:
    """The one file of a kind."""
    return lambda home: next(iter((home.path / directory).glob(pattern)))


SIGN = command("sign", "{archive}", "--sign-key", "{key}", "--sequence", "7")
COPY = command("copy", "{archive}", "model:1")
LIST = command("list")
FILES = {
    "sequence": Own(in_state("sequence.json"), SIGN),
    "lock of the sequence": Own(in_state("locks/file-sequence.json.lock"), SIGN),
    "ledger": Own(in_state("applied.json"), calling(check_ledger)),
    "lock of the ledger": Own(in_state("locks/file-applied.json.lock"), calling(check_ledger)),
    "note of an engine": Own(left_note("temporary"), calling(note_engine)),
    "note of a pause": Own(left_note("paused"), calling(abandoned)),
    "listing": Own(only("state", "fps-bundle/listings/*.list"), calling(use_listing), cache=True),
    "index of the store": Own(in_store("index.json"), LIST),
    "lock of the index": Own(in_store("oci-layout"), LIST),
    "lock of the store": Own(in_store("in-use.lock"), LIST),
    "index for a copy": Own(in_store("index.json"), COPY),
    "record of an upload": Own(only("store", "uploads/*.json"), calling(use_record), cache=True),
    "lock of an upload": Own(only("store", "uploads/*.lock"), calling(use_record), cache=True),
    "half download": Own(in_store("blobs/sha256/.fps-bundle-kept-key"), calling(use_part), cache=True),
}
DIRECTORIES = {
    "locks": Own(in_state("locks"), SIGN),
    "engine notes": Own(in_state("temporary"), calling(note_engine)),
    "pause notes": Own(lambda home: left_note("paused")(home).parent, calling(abandoned)),
    "listings": Own(in_state("listings"), calling(use_listing), cache=True),
    "blobs": Own(in_store("blobs"), COPY),
    "algorithm": Own(in_store("blobs/sha256"), COPY),
    "uploads": Own(in_store("uploads"), calling(use_record), cache=True),
}


def spoil(path: Path, how: str, aside: Path) -> None:
    """Replace a file or directory of ours by something else, or make it useless."""
    if how == "another user's":
        os.chown(path, OTHER, OTHER)
    elif how == "unreadable":
        path.chmod(0)
    else:
        path.rename(aside)
        if how in ("link", "dangling link"):
            path.symlink_to(aside if how == "link" else aside.with_name("nothing"))
        elif how == "directory":
            path.mkdir(mode=0o700)
        elif how == "file":
            path.write_bytes(b"")
        else:
            os.mkfifo(path, 0o600)


def outcome(use: Callable[[Home], int], home: Home, said: Path, *, override: bool = True) -> int:
    """The exit code of an action in a process of its own, which may ``override`` the modes of files; -1 when it hangs."""
    child = os.fork()
    if not child:
        gc.disable()  # a collection would copy all that the tests hold
        try:
            os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            if not override:
                _drop_override()
            os._exit(use(home))
        finally:
            os._exit(99)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


def _drop_override() -> None:
    """Give up the capabilities by which root reads and writes what it may not (capabilities(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    for number in (0, 1):  # effective, permitted
        sets[number] &= ~0b110
    assert libc.capset(header, sets) == 0


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    run_program("mount", "--bind", str(place), str(place))
    try:
        run_program("mount", "-o", "remount,bind,ro", str(place))
        yield
    finally:
        run_program("umount", "--lazy", str(place))


FILE_DAMAGE = ["link", "dangling link", "directory", "fifo", "unreadable", "another user's"]
DIRECTORY_DAMAGE = ["link", "dangling link", "file", "fifo", "unreadable", "another user's"]


@pytest.mark.parametrize("how", FILE_DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_a_file_of_ours_that_is_something_else(name: str, how: str, home: Home, used: Callable[[Own, Home], None]) -> None:
    used(FILES[name], home)
    check_refused(FILES[name], how, home)


@pytest.mark.parametrize("how", DIRECTORY_DAMAGE)
@pytest.mark.parametrize("name", DIRECTORIES)
def test_a_directory_of_ours_that_is_something_else(name: str, how: str, home: Home, used: Callable[[Own, Home], None]) -> None:
    used(DIRECTORIES[name], home)
    check_refused(DIRECTORIES[name], how, home)


def check_refused(own: Own, how: str, home: Home) -> None:
    path = own.path(home)
    aside, said = home.path.with_name("aside"), home.path.with_name("said")
    spoil(path, how, aside)
    before = home.contents(), aside.exists() and _all(aside)
    code = outcome(own.use, home, said, override=how != "unreadable")
    if how in ("unreadable", "another user's") and own.cache and not code:
        assert aside.exists() is False
    else:
        assert code in (5, 9), said.read_text()
        assert str(path) in said.read_text()
        assert (home.contents(), aside.exists() and _all(aside)) == before


def _all(path: Path) -> Mapping[str, object]:
    return {str(it): _content(it) for it in (path, *path.rglob("*"))}


@pytest.mark.parametrize("name", [*FILES, *DIRECTORIES])
def test_a_medium_that_became_read_only(name: str, home: Home, tmp_path: Path) -> None:
    own = (FILES | DIRECTORIES)[name]
    said = tmp_path / "said"
    home.state.mkdir(mode=0o700, parents=True)
    home.store.mkdir(mode=0o700)
    assert outcome(own.use, home, said) == 0, said.read_text()
    place = home.state if own.path(home).is_relative_to(home.state) else home.store
    with read_only(place):
        before = home.contents()
        code = outcome(own.use, home, said)
        assert home.contents() == before
    reads_only = name in ("note of a pause", "pause notes")
    assert code in ((0, 5) if own.cache or reads_only else (5,)), said.read_text()
    assert not code or str(place) in said.read_text()


@pytest.mark.parametrize("how", FILE_DAMAGE)
def test_a_record_of_what_was_verified_is_only_done_without(how: str, home: Home, tmp_path: Path) -> None:
    def use(_: Home) -> int:
        verified_cache.is_noted(ONE, 1)
        verified_cache.note(ONE, 1)
        return 0

    said = tmp_path / "said"
    assert outcome(use, home, said) == 0
    path = home.state / "verified" / ONE.hex
    spoil(path, how, tmp_path / "aside")
    assert outcome(use, home, said) == 0
    if how not in ("unreadable", "another user's"):
        assert (tmp_path / "aside").read_bytes() == b'{"checks":1}\n'


@pytest.mark.parametrize("how", ["directory", "fifo"])
@pytest.mark.parametrize("which", ["key", "allowed signers", "policy", "docker"])
def test_what_the_user_names_or_writes_is_no_file(which: str, how: str, home: Home, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    policy = home.path / "config" / "fps-bundle" / "trust.toml"
    path, use, codes = {
        "key": (tmp_path / "other-key", command("sign", "{archive}", "--sign-key", str(tmp_path / "other-key")), (2, 9)),
        "allowed signers": (
            tmp_path / "allowed",
            command("verify", "{archive}", "--allowed-signers", str(tmp_path / "allowed")),
            (2, 9),
        ),
        "policy": (policy, command("verify", "{archive}"), (9,)),
        "docker": (tmp_path / "docker" / "config.json", command("logout", "localhost:1"), (7,)),
    }[which]
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path) if how == "fifo" else path.mkdir()
    said = tmp_path / "said"
    assert outcome(use, home, said) in codes, said.read_text()
    assert str(path) in said.read_text()
