"""An engine whose own disk is full: exit 11, no image, and room makes it good."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import run, small_disk
from privateengine import private_engine
from world import Host

MIB = 1 << 20
ROOM = 1024 * MIB
STATE = "import os\nos.makedirs('/srv')\nopen('/srv/state', 'wb').write(os.urandom(48 << 20))"


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with small_disk(tmp_path_factory.mktemp("small") / "disk", ROOM) as path:
        yield path


@pytest.fixture(scope="module")
def _engines(saved_models: Path, disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Host]]:
    remote = f"tcp://127.0.0.1:{free_port()}"
    with private_engine(f"--data-root={disk}/data", f"--host={remote}") as local:
        home = tmp_path_factory.mktemp("tight")
        hosts = {"local": Host(local, home), "remote": Host(remote, home)}
        hosts["local"].take_model(saved_models)
        yield hosts


@pytest.fixture(params=["local", "remote"])
def tight(request: pytest.FixtureRequest, _engines: dict[str, Host], disk: Path) -> Iterator[Host]:
    """A host whose engine has the base image, and its data on a small disk; whether we can look into that, or not."""
    yield _engines[request.param]
    leave(disk, ROOM)
    _engines[request.param].clean()


@pytest.fixture(scope="module")
def bundle(_hosts: tuple[Host, Host], tmp_path_factory: pytest.TempPathFactory) -> str:
    """An archive of a bundle of 48 MiB that cannot be compressed."""
    here, path = _hosts[0], str(tmp_path_factory.mktemp("bundle") / "bundle.tar")
    here.run_script("first", ["/srv"], STATE)
    here.must("push", "first", path)
    here.clean()
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def leave(disk: Path, free: int) -> None:
    """Make the disk so large that only so many bytes more fit."""
    used = sum(path.stat(follow_symlinks=False).st_blocks * 512 for path in disk.rglob("*"))
    run("mount", "-o", f"remount,size={used + free}", str(disk))


@pytest.mark.parametrize("free", [1 * MIB, 24 * MIB, 60 * MIB])
def test_an_apply_into_a_full_engine(tight: Host, disk: Path, bundle: str, free: int) -> None:
    before = tight.images()
    leave(disk, free)
    outcome = tight.bundle("apply", bundle, "--tag", "copy:1")
    assert outcome.code == 11, outcome.err
    assert ("engine's disk is full" if tight.address.startswith("tcp:") else "bytes needed") in outcome.err
    assert tight.images() == before
    leave(disk, ROOM)
    assert tight.images() == before
    tight.must("apply", bundle, "--tag", "copy:1")
    assert len(tight.images() - before) == 1
