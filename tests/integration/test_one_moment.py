"""A bundle is of one moment, or there is none: whatever happens to a model while push has it paused.

What disturbs happens in the test's own process, from within the reader, so that it always happens at the same place.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import pytest
from fakes import RecordingProgress, ScriptedModel
from privatepodman import private_podman
from world import MODEL, NO_NETWORK, Host

from bundler.engines.docker import DockerEngine
from bundler.errors import ModelError
from bundler.format.reference import LocalReference
from bundler.format.tar import Entry
from bundler.ports import Container, PathInfo, Reader, Seen, Surveyor
from bundler.stores.layout.local import LocalSpool
from bundler.streams import Readable
from bundler.verbs import push as pushing

Act = Callable[[], object]

IDLE = """
import os, time
os.makedirs("/srv/state", exist_ok=True)
open("/srv/state/a", "w").write("learned")
open("/srv/ready", "w")
time.sleep(10000)
"""
BUSY = IDLE.replace("time.sleep(10000)", "while True: time.sleep(0.001)")
"""A model that wakes all the time, so that it has used CPU time whenever it was resumed."""


class DisturbedReader:
    """A reader that lets something happen when it has given all, before the capture can know that."""

    def __init__(self, inner: Reader, act: Act) -> None:
        self._inner = inner
        self._act = act
        self.walks = 0
        self.sees_all = inner.sees_all

    def stat(self, path: str) -> PathInfo | None:
        return self._inner.stat(path)

    def entries(self, exports: Sequence[str]) -> Generator[tuple[Entry, Readable]]:
        yield from self._inner.entries(exports)
        self.walks += 1
        if self.walks == 1:
            self._act()


class DisturbedSurveyor(DisturbedReader):
    """The same with a reader that sees what stat(2) tells."""

    def __init__(self, inner: Reader, act: Act) -> None:
        super().__init__(inner, act)
        assert isinstance(inner, Surveyor)
        self._surveyor = inner

    def survey(self, exports: Sequence[str], ignored: Callable[[str], bool]) -> Generator[Seen]:
        return self._surveyor.survey(exports, ignored)

    def capacity(self) -> int:
        return self._surveyor.capacity()


class DisturbedEngine(DockerEngine):
    """An engine whose readers let something happen."""

    act: Act

    def reader(self, container: Container, wanted: str) -> Reader:
        inner = super().reader(container, wanted)
        return DisturbedSurveyor(inner, self.act) if isinstance(inner, Surveyor) else DisturbedReader(inner, self.act)


Push = Callable[..., pushing.PushResult]


@pytest.fixture
def push(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Push:
    """A push of ``/srv/state`` of the container ``first``, in this process, with a local store that no other test uses."""
    for name in ("FPS_BUNDLE_STORE", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))

    def pushed(host: Host, reader: str, act: Act) -> pushing.PushResult:
        engine = DisturbedEngine(host.address)
        engine.act = act
        found = engine.container("first")
        options = pushing.Options(reader=reader)
        target, progress = LocalReference("moment", "1"), RecordingProgress()
        return pushing.push(found, engine, ScriptedModel("/srv/state"), LocalSpool(), target, progress, options)

    return pushed


@pytest.fixture(params=["docker", "podman"])
def host(request: pytest.FixtureRequest) -> Host:
    found: Host = request.getfixturevalue("here" if request.param == "docker" else "podman")
    return found


def start(host: Host, code: str = IDLE, **settings: object) -> str:
    """Start a container whose state is there when this returns."""
    container = host.run_python("first", code, {}, MODEL, host_config={**NO_NETWORK, **settings})
    root = Path(f"/proc/{host.api.inspect_container(container)['State']['Pid']}/root")
    while not (root / "srv" / "ready").exists():
        time.sleep(0.02)
    return container


def root_of(host: Host, container: str) -> Path:
    return Path(f"/proc/{host.api.inspect_container(container)['State']['Pid']}/root")


def refused(host: Host, push: Push, reader: str, act: Act) -> ModelError:
    """What a disturbed push says; it leaves nothing in the local store, and nothing to do for the next command."""
    with pytest.raises(ModelError) as caught:
        push(host, reader, act)
    assert LocalSpool().open(LocalReference("")).names() == []
    assert list((Path(os.environ["FPS_BUNDLE_STORE"]) / "blobs" / "sha256").iterdir()) == []
    assert list((Path(os.environ["XDG_STATE_HOME"]) / "fps-bundle" / "paused").glob("*.json")) == []
    return caught.value


@pytest.mark.parametrize("reader", ["api", "direct"])
def test_an_undisturbed_push_succeeds(host: Host, push: Push, reader: str) -> None:
    container = start(host)
    assert push(host, reader, lambda: None).paused > 0
    assert not host.paused(container)


@pytest.mark.parametrize("reader", ["api", "direct"])
def test_another_process_resumes_the_model(host: Host, push: Push, reader: str) -> None:
    container = start(host)
    error = refused(host, push, reader, lambda: host.api.unpause(container))
    assert "another process resumed first" in error.message
    assert error.command == ""
    assert not host.paused(container)


@pytest.mark.parametrize("reader", ["api", "direct"])
def test_another_process_resumes_the_model_and_pauses_it_again(host: Host, push: Push, reader: str) -> None:
    container = start(host)

    def disturb() -> None:
        host.api.unpause(container)
        host.api.pause(container)

    error = refused(host, push, reader, disturb)
    assert "another process resumed first and paused it again" in error.message
    assert error.command == "docker unpause first"
    assert host.paused(container)


@pytest.mark.parametrize("reader", ["api", "direct"])
def test_another_process_restarts_the_model(here: Host, push: Push, reader: str) -> None:
    container = start(here)
    error = refused(here, push, reader, lambda: here.api.restart(container, timeout=0))
    assert "another process restarted first" in error.message
    assert not here.paused(container)


@pytest.mark.parametrize("reader", ["api", "direct"])
def test_another_process_restarts_the_model_and_pauses_it(here: Host, push: Push, reader: str) -> None:
    container = start(here)

    def disturb() -> None:
        here.api.restart(container, timeout=0)
        here.api.pause(container)

    error = refused(here, push, reader, disturb)
    assert "another process restarted first" in error.message
    assert error.command == "docker unpause first"
    assert here.paused(container)


def test_the_model_is_killed(host: Host, push: Push) -> None:
    container = start(host)

    def disturb() -> None:
        host.api.kill(container)
        host.api.wait(container)

    assert "first was stopped" in refused(host, push, "direct", disturb).message


def test_the_model_is_restarted_before_the_pause(here: Host, push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    container = start(here)
    original = DockerEngine.container

    def stale(engine: DockerEngine, name: str) -> Container:
        found = original(engine, name)
        here.api.restart(container, timeout=0)
        return found

    monkeypatch.setattr(DisturbedEngine, "container", stale)
    assert "restarted before it was paused" in refused(here, push, "api", lambda: None).message
    assert not here.paused(container)


def make_events(host: Host) -> None:
    """So many events that Docker forgets those before: it remembers 256 of all containers and images."""
    for _ in range(150):
        host.api.tag(MODEL, "noise", "1")
        host.api.remove_image("noise:1")


def test_events_that_the_engine_forgot_are_no_fault(here: Host, push: Push) -> None:
    container = start(here)
    assert push(here, "api", lambda: make_events(here)).paused > 0
    assert not here.paused(container)


def test_a_pause_of_others_is_seen_though_the_engine_forgot_it(here: Host, push: Push) -> None:
    container = start(here)

    def disturb() -> None:
        here.api.unpause(container)
        here.api.pause(container)
        make_events(here)

    assert "paused it again" in refused(here, push, "api", disturb).message
    assert here.paused(container)


def test_files_are_copied_into_a_paused_container(here: Host, push: Push) -> None:
    container = start(here)
    archive = b"".join(here.api.get_archive(container, "/srv/state/a")[0])
    error = refused(here, push, "api", lambda: here.api.put_archive(container, "/srv/state", archive))
    assert "another process copied files into first" in error.message
    assert not here.paused(container)


def write_unseen(path: Path) -> None:
    """Change a file's content and give it back its size and times: its time of change alone cannot be set."""
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_writer_on_the_host(host: Host, push: Push) -> None:
    container = start(host)
    state = root_of(host, container) / "srv" / "state"
    error = refused(host, push, "direct", lambda: write_unseen(state / "a"))
    assert error.message == "/srv/state/a changed while the model was paused (time of change)"
    assert not host.paused(container)
    error = refused(host, push, "direct", lambda: (state / "new").touch())
    assert error.message.startswith("/srv/state changed while the model was paused")
    error = refused(host, push, "direct", lambda: state.chmod(0o700))
    assert error.message == "/srv/state changed while the model was paused (type or mode, time of change)"


@pytest.mark.parametrize("reader", ["api", "direct"])
def test_a_writer_of_a_bind_mount(here: Host, push: Push, reader: str, tmp_path: Path) -> None:
    (tmp_path / "bound").mkdir()
    container = start(here, IDLE, Binds=[f"{tmp_path}/bound:/srv/state"])
    error = refused(here, push, reader, lambda: (tmp_path / "bound" / "a").write_text("changed"))
    assert "/srv/state/a changed while" in error.message
    assert "Stop other writers, which the pause does not stop" in error.hint
    assert not here.paused(container)


@pytest.mark.parametrize("reader", ["api", "direct"])
def test_another_container_writes_into_a_shared_volume(host: Host, push: Push, reader: str) -> None:
    if host.is_podman and reader == "api":
        pytest.skip("the export of Podman has no volumes: refused, see test_engines.py")
    binds = ["shared:/srv/state"]
    container = start(host, IDLE, Binds=binds)
    code = "import os, time\nwhile not os.path.exists('/srv/go'): time.sleep(0.01)\nopen('/srv/state/a', 'w').write('changed')"
    writer = host.run_python("writer", code, {}, MODEL, host_config={**NO_NETWORK, "Binds": binds})
    go = root_of(host, writer) / "srv" / "go"

    def disturb() -> None:
        go.touch()
        host.api.wait(writer)

    error = refused(host, push, reader, disturb)
    assert "/srv/state/a changed while" in error.message
    assert not host.paused(container)


@pytest.mark.parametrize("reader", ["api", "direct"])
def test_a_volume_that_nothing_writes_to_is_taken(here: Host, push: Push, reader: str) -> None:
    start(here, IDLE, Binds=["calm:/srv/state"])
    assert push(here, reader, lambda: None).bundle.metadata.exports[0].volume


@pytest.fixture
def silent_podman(saved_models: Path, tmp_path: Path) -> Iterator[Host]:
    """A host whose Podman keeps no events."""
    with private_podman(events="none") as address:
        (tmp_path / "silent").mkdir()
        host = Host(address, tmp_path / "silent")
        host.take_model(saved_models)
        yield host
        host.clean()


def test_cpu_time_takes_the_place_of_events(silent_podman: Host, push: Push) -> None:
    container = start(silent_podman, BUSY)

    def disturb() -> None:
        silent_podman.api.unpause(container)
        silent_podman.api.pause(container)

    error = refused(silent_podman, push, "api", disturb)
    assert "another process resumed first and paused it again" in error.message
    assert silent_podman.paused(container)
    silent_podman.api.unpause(container)
    push(silent_podman, "api", lambda: None)
    assert not silent_podman.paused(container)


def test_a_health_check_is_warned_of(here: Host) -> None:
    check = {"test": ["CMD", "/bin/true"], "interval": 5_000_000_000}
    here.run_script("first", ["/srv"], "import os\nos.makedirs('/srv')", healthcheck=check, labels={"autoheal": "true"})
    outcome = here.must("push", "first", "x:1")
    assert "first will be unhealthy from the pause until the next health check succeeds (interval 5 s)" in outcome.err
    assert "it can be restarted by its label autoheal" in outcome.err


def test_a_pause_that_would_be_too_long_is_refused(here: Host) -> None:
    container = here.run_script("first", ["/srv"], "import os\nos.makedirs('/srv')")
    outcome = here.bundle("push", "first", "x:1", "--max-pause", "0")
    assert outcome.code == 3
    assert "which exceeds --max-pause (0 s)" in outcome.err
    events = here.api.events(since=0, until=int(time.time()) + 1, filters={"container": container}, decode=True)
    assert "pause" not in [event["Action"] for event in events]
    result = here.must("push", "first", "x:1", "--max-pause", "1m", "--json").json
    assert result["estimate"]["exact"]
    assert 0 < result["pausedSeconds"] < 60
    assert 0 < result["estimate"]["pauseSeconds"] < 60
