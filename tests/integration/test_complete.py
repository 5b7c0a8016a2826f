"""A push is complete or refused: what an engine's archives leave out, what engines would not keep, and what stays behind."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from pathlib import Path

import pytest
from world import MODEL, Host

HOSTS = ["here", "podman"]
READERS = ["api", "direct"]

SOCKET = "import os, socket; os.makedirs('/srv/d'); socket.socket(socket.AF_UNIX).bind('/srv/d/socket')"

# By descriptors, as no path can name what is made: 17 directories of 250 bytes are longer than the 4,095 that a path may have.
DEEP = """
import os
os.mkdir('/srv')
above = os.open('/srv', os.O_RDONLY)
for _ in range(17):
    os.mkdir('d' * 250, dir_fd=above)
    above = os.open('d' * 250, os.O_RDONLY, dir_fd=above)
os.close(os.open('leaf', os.O_CREAT | os.O_WRONLY, dir_fd=above))
"""

LINKS = """
import os
os.makedirs('/hub/blobs'); os.makedirs('/hub/snapshots/1')
open('/hub/blobs/b1', 'w').write('weights')
os.symlink('../../blobs/b1', '/hub/snapshots/1/model')
os.symlink('/app/state.py', '/hub/snapshots/1/of-the-base')
os.symlink('/nowhere', '/hub/snapshots/1/dangling')
open('/hub/state.db', 'w').write('rows'); open('/hub/state.db-wal', 'w').write('rows')
"""


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("setup", "named"),
    [
        # Docker itself fails at such a tree when it is asked for the changes.
        pytest.param(DEEP, "a path of more than 3839 bytes|file name too long|lstat .*/srv/d", id="deep"),
        pytest.param("import os; os.mkdir('/srv'); os.utime('/srv', (0, -1))", "/srv' has a time before 1970", id="before 1970"),
    ],
)
def test_what_engines_would_not_keep_is_refused_by_every_reader(
    request: pytest.FixtureRequest, host: str, setup: str, named: str
) -> None:
    source: Host = request.getfixturevalue(host)
    source.run_script("first", ["/srv"], setup)
    for reader in READERS:
        outcome = source.bundle("push", "first", "complete:1", "--reader", reader)
        assert outcome.code in (3, 4), (reader, outcome.err)
        assert re.search(named, outcome.err), reader


@pytest.mark.parametrize("host", HOSTS)
def test_every_reader_tells_of_sockets(request: pytest.FixtureRequest, host: str) -> None:
    source: Host = request.getfixturevalue(host)
    source.run_script("first", ["/srv"], f"{SOCKET}; open('/srv/state', 'w').write('x')")
    for reader in READERS:
        outcome = source.bundle("push", "first", "complete:1", "--reader", reader, "--strict")
        assert outcome.code == 3, (reader, outcome.err)
        assert "/srv/d/socket" in outcome.err, reader
        assert "/srv/d/socket" in source.must("push", "first", "complete:1", "--reader", reader).err, reader


@pytest.mark.parametrize("host", HOSTS)
def test_the_engines_own_files_are_not_missed(request: pytest.FixtureRequest, host: str) -> None:
    source: Host = request.getfixturevalue(host)
    source.run_script("first", ["/etc", "/app"], "open('/etc/mine', 'w').write('x'); open(b'/app/\\xff', 'w').close()")
    source.must("push", "first", "complete:1", "--reader", "api", "--strict")


@pytest.mark.parametrize("host", HOSTS)
def test_what_links_lead_to_outside_of_the_exports_is_told(request: pytest.FixtureRequest, host: str) -> None:
    source: Host = request.getfixturevalue(host)
    source.run_script("first", ["/hub/snapshots/1", "/hub/state.db"], LINKS)
    for reader in READERS:
        told = source.must("push", "first", "complete:1", "--reader", reader).err
        assert "1 exported symbolic link:" in told, reader
        assert "/hub/snapshots/1/model -> /hub/blobs/b1" in told, reader
        assert "/hub/state.db-wal" in told, reader
        outcome = source.bundle("push", "first", "complete:1", "--reader", reader, "--strict")
        assert outcome.code == 3, reader
        assert "/hub/blobs/b1" in outcome.err, reader


def test_a_base_of_as_many_layers_as_docker_takes(here: Host, tmp_path: Path) -> None:
    _deepen(here, 124)
    first = here.run_script("first", ["/srv"], "import os; os.mkdir('/srv'); open('/srv/f', 'w').write('x')", image="deep:124")
    here.must("push", "first", str(tmp_path / "x.tar"))
    here.must("apply", str(tmp_path / "x.tar"), "--tag", "deep-applied:1")
    copy = here.api.create_container("deep-applied:1")["Id"]
    assert here.tree(copy, "/srv") == here.tree(first, "/srv")
    one_more = here.api.create_container("deep:124")["Id"]
    here.put(one_more, {"opt/one-more": ""})
    here.api.commit(one_more, "deep", "125")
    assert len(here.layers("deep:125")) == 125
    here.run_script("second", ["/srv"], "import os; os.mkdir('/srv')", image="deep:125")
    outcome = here.bundle("push", "second", str(tmp_path / "y.tar"))
    assert outcome.code == 3
    assert "125 layers" in outcome.err


def _deepen(host: Host, count: int) -> None:
    """Give a host the model's image with so many layers, as ``deep:COUNT``."""
    saved = io.BytesIO(b"".join(host.api.get_image(MODEL)))
    made = io.BytesIO()
    with tarfile.open(fileobj=saved) as old, tarfile.open(fileobj=made, mode="w") as new:
        (manifest,) = json.load(old.extractfile("manifest.json"))  # type: ignore[arg-type]
        config = json.load(old.extractfile(manifest["Config"]))  # type: ignore[arg-type]
        for number in range(len(manifest["Layers"]), count):
            layer = _tar(f"opt/{number}", b"")
            manifest["Layers"].append(f"{number}/layer.tar")
            config["rootfs"]["diff_ids"].append(f"sha256:{hashlib.sha256(layer).hexdigest()}")
            config["history"].append({"created_by": "test"})
            _add(new, f"{number}/layer.tar", layer)
        for name in manifest["Layers"]:
            if name in old.getnames():
                _add(new, name, old.extractfile(name).read())  # type: ignore[union-attr]
        _add(new, "config.json", json.dumps(config).encode())
        _add(new, "manifest.json", json.dumps([{**manifest, "Config": "config.json", "RepoTags": [f"deep:{count}"]}]).encode())
    for line in host.api.load_image(made.getvalue()):
        assert "error" not in line, line


def _tar(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        _add(archive, name, data)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))
