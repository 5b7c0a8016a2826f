"""Docker and Podman, as source and as target, in all four pairs."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from privateengine import private_engine
from test_exact import DELETIONS, make_base, pushed
from test_round_trip import STATE_SETUP
from world import Host


@pytest.fixture
def engines(here: Host, podman: Host) -> dict[str, Host]:
    return {"docker": here, "podman": podman}


@pytest.mark.parametrize("source", ["docker", "podman"])
def test_a_model_goes_from_any_engine_to_any(engines: dict[str, Host], there: Host, tmp_path: Path, source: str) -> None:
    origin = engines[source]
    first = origin.run_script("first", ["/srv/state", "/app"], STATE_SETUP + DELETIONS)
    archive = pushed(origin, tmp_path)
    expected = origin.trees(first, "/srv/state", "/app")
    for goal in (there, engines["podman"]):
        applied = goal.must("apply", archive, "--tag", "crossed:1", "--json").json
        copy = goal.api.create_container("crossed:1", ["x"])["Id"]
        assert goal.trees(copy, "/srv/state", "/app") == expected
        assert applied["imageID"] == applied["configDigest"]


def test_every_engine_gives_the_new_image_the_same_digest(here: Host, there: Host, podman: Host, tmp_path: Path) -> None:
    here.run_script("first", ["/srv/state"], STATE_SETUP)
    here.must("push", "first", str(tmp_path / "x.tar"))
    answers = [host.must("apply", str(tmp_path / "x.tar"), "--json").json for host in (here, there, podman)]
    assert len({answer["imageID"] for answer in answers}) == 1


def test_a_paused_podman_model_is_resumed(podman: Host) -> None:
    container = podman.run_script("first", ["/srv/state"], STATE_SETUP)
    podman.must("push", "first", "x:1")
    assert not podman.paused(container)


@pytest.fixture
def namespaced(saved_models: Path, tmp_path: Path) -> Iterator[Host]:
    """A host whose engine maps the users of its containers to others (dockerd's ``--userns-remap``)."""
    with _mapped_users(), private_engine("--userns-remap=daemon") as address:
        host = Host(address, tmp_path)
        host.take_model(saved_models)
        yield host
        host.clean()


@contextmanager
def _mapped_users() -> Iterator[None]:
    """Give the user ``daemon`` other users to map to; the tables are the machine's, so one worker at a time does this."""
    tables = [Path("/etc/subuid"), Path("/etc/subgid")]
    with (Path(tempfile.gettempdir()) / "fps-tests-subuid.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mapping = "daemon:300000:65536\n"
        before = [table.read_text().replace(mapping, "") if table.exists() else "" for table in tables]  # a killed run left it
        for table, text in zip(tables, before, strict=True):
            table.write_text(f"{text}{mapping}")
        try:
            yield
        finally:
            for table, text in zip(tables, before, strict=True):
                table.write_text(text)


OWNED = """
import os
os.mkdir('/srv')
for owner in (0, 1, 1000, 65535):
    open(f'/srv/{owner}', 'w').close(); os.chown(f'/srv/{owner}', owner, 65535 - owner)
"""
OWNERS = """
import os
for name in sorted(os.listdir('/srv')):
    found = os.stat(f'/srv/{name}')
    print(name, found.st_uid, found.st_gid)
"""


def test_a_user_namespace_does_not_change_owners(namespaced: Host, there: Host, tmp_path: Path) -> None:
    first = namespaced.run_script("first", ["/srv"], OWNED)
    outcome = namespaced.bundle("push", "first", "x:1", "--reader", "direct")
    assert outcome.code == 3
    assert "without a user namespace" in outcome.err
    namespaced.must("push", "first", str(tmp_path / "x.tar"))
    expected = namespaced.execute(first, OWNERS)
    assert "65535 65535 0" in expected
    for host in (there, namespaced):
        host.must("apply", str(tmp_path / "x.tar"), "--tag", "owned:1")
        assert host.output("owned:1", OWNERS) == expected


def test_an_ingest_in_a_user_namespace_does_not_change_owners(namespaced: Host) -> None:
    kinds = """
os.mkdir('/srv/dir', 0o700); os.chown('/srv/dir', 7, 8); os.link('/srv/1000', '/srv/dir/again')
os.symlink('../1', '/srv/dir/link'); os.chmod('/srv/1', 0o4750); os.utime('/srv/1', (0, 0))
"""
    first = namespaced.run_script("first", [], OWNED + kinds)
    namespaced.script_image("scripted:2", [("/srv", "/srv"), ("/srv/1000", "/new/made/named")], mood="strict")
    namespaced.must("ingest", "first", "--onto", "scripted:2", "--tag", "taken:1")
    assert namespaced.output("taken:1", OWNERS) == namespaced.execute(first, OWNERS)
    copy = namespaced.api.create_container("taken:1", ["x"])["Id"]
    assert namespaced.tree(copy, "/srv") == namespaced.tree(first, "/srv")
    named = "import os; print([(found.st_uid, found.st_gid) for found in map(os.stat, ('/new/made/named', '/new/made'))])"
    assert namespaced.output("taken:1", named) == "[(1000, 64535), (0, 0)]\n"


def test_mounts_that_an_engine_does_not_give_unchanged_are_refused(podman: Host) -> None:
    options = {"host_config": {"Binds": ["kept:/srv/kept"]}}
    podman.run_script("first", ["/srv"], "open('/srv/kept/file', 'w').close()", **options)
    outcome = podman.bundle("push", "first", "x:1", "--reader", "api")
    assert outcome.code == 3
    assert "/srv/kept is a mount, which can be read unchanged on this engine only while the container runs" in outcome.err
    podman.must("push", "first", "x:1", "--reader", "direct")
    podman.api.remove_container("first", force=True)
    podman.api.remove_volume("kept")


def test_podman_is_asked_about_names_that_its_api_says_otherwise(here: Host, podman: Host, tmp_path: Path) -> None:
    """Found by `make soak`: it takes a path for a glob pattern, answers in URL-safe base64, and with 404 about a dangling link."""
    make_base(here, "import os; os.makedirs('/odd/a[b]'); open('/odd/a[b]/gone', 'w').close()", podman)
    setup = "import os; os.remove('/odd/a[b]/gone'); os.mkdir('/odd/~~~~~~'); os.symlink('nowhere', '/odd/dangling')"
    first = podman.run_script("first", ["/odd/a[b]", "/odd/~~~~~~", "/odd/dangling"], setup, image="odd:1")
    podman.must("push", "first", str(tmp_path / "1.tar"))
    here.must("apply", str(tmp_path / "1.tar"), "--tag", "grown:1")
    assert here.tree(here.api.create_container("grown:1")["Id"], "/odd/a[b]") == podman.tree(first, "/odd/a[b]")
    podman.api.remove_container(first, force=True)
    podman.run_script("second", ["/odd/~~~~~~", "/odd/dangling"], setup, image="odd:1")
    podman.must("push", "second", str(tmp_path / "2.tar"), "--reader", "api")
