"""Ingest on real engines: a newer model asks for files of an older one, and becomes a new image."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from guardedsocket import held, silenced
from privateengine import private_daemon
from test_round_trip import QUESTION, STATE_SETUP, teach
from world import MODEL, Host, short, wait_until, within

from bundler.errors import INTERRUPTED

NEWER = "example-model:2.0"
SCRIPTED = "scripted:2"
REQUESTS = int(os.environ.get("FPS_BUNDLE_REQUESTS", "44"))


@pytest.fixture
def upgraded(saved_models: Path, here: Host, there: Host) -> tuple[Host, Host]:
    """Two hosts that have both versions of the example model."""
    for host in (here, there):
        host.take_model(saved_models, "2.0")
    return here, there


def results(host: Host, image: str) -> dict[tuple[str, str], str]:
    found = json.loads(host.output(image, "print(open('/script/results').read())"))
    return {(source, dest): error for source, dest, error in found}


def everything(host: Host) -> tuple[Any, ...]:
    """All containers and images of a host, to see that nothing was left."""
    containers = {container["Id"]: container["State"] for container in host.api.containers(all=True)}
    return containers, {(image["Id"], *map(short, image["RepoTags"] or ())) for image in host.api.images()}


@pytest.mark.operation("ingest")
def test_a_newer_version_gives_the_older_ones_answers(upgraded: tuple[Host, Host], registry: str, tmp_path: Path) -> None:
    here, there = upgraded
    first = here.run(MODEL, "first")
    teach(here, first)
    bundle = f"{registry}/team/upgraded:2"
    outcome = here.must("ingest", "first", "--onto", NEWER, "--tag", "upgraded:2", "--push", bundle, "--json").json
    assert outcome["bundle"]
    assert [copy["error"] for copy in outcome["copies"]] == [None] * 3
    assert not here.paused(first)
    answer = here.ask(first, "predict", text=QUESTION)
    second = here.run("upgraded:2", "second")
    assert here.ask(second, "predict", text=QUESTION) == answer
    labels = here.api.inspect_image("upgraded:2")["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == "2.0"
    assert labels["fps.bundle.ingested-from"] == f"container {first}"

    there.must("apply", bundle, "--tag", "arrived:2")
    third = there.run("arrived:2", "third")
    assert there.ask(third, "predict", text=QUESTION) == answer
    there.ask(third, "learn", text="even more smoke", label="fire")
    there.must("push", "third", str(tmp_path / "3.tar"))
    metadata = there.must("inspect", str(tmp_path / "3.tar"), "--json").json["metadata"]
    assert list(map(short, metadata["base"]["names"])) == [NEWER]
    assert [ancestor["digest"] for ancestor in metadata["lineage"]] == [outcome["bundle"]]


@pytest.mark.operation("ingest")
def test_an_old_model_that_does_not_run_is_read_too(saved_models: Path, here: Host, tmp_path: Path) -> None:
    here.take_model(saved_models, "2.0")
    first = here.run(MODEL, "first")
    teach(here, first)
    answer = here.ask(first, "predict", text=QUESTION)
    here.must("push", "first", str(tmp_path / "first.tar"))
    here.api.stop(first)
    digest = here.must("inspect", str(tmp_path / "first.tar"), "--json").json["digest"]
    for what, old, newest in (("stopped", "first", ""), ("bundle", str(tmp_path / "first.tar"), digest)):
        before, tag = everything(here), f"from-{what}:2"
        here.must("ingest", old, "--onto", NEWER, "--tag", tag)
        containers, images = everything(here)
        assert containers == before[0], what
        assert {name for image in images - before[1] for name in image[1:]} == {tag}
        assert here.api.inspect_image(tag)["Config"]["Labels"]["fps.bundle.lineage"].partition("@")[0] == newest, what
        second = here.run(tag, f"from-{what}")
        assert here.ask(second, "predict", text=QUESTION) == answer, what
        here.api.remove_container(second, force=True)


def test_the_upgrade_on_podman(saved_models: Path, podman: Host, tmp_path: Path) -> None:
    podman.take_model(saved_models, "2.0")
    first = podman.run(MODEL, "first")
    teach(podman, first)
    answer = podman.ask(first, "predict", text=QUESTION)
    podman.api.stop(first, timeout=10)  # without it Podman kills at once
    before = everything(podman)
    bundle = str(tmp_path / "upgraded.tar")
    podman.must("ingest", "first", "--onto", NEWER, "--tag", "upgraded:2", "--push", bundle)
    containers, images = everything(podman)
    assert containers == before[0]
    assert len(images - before[1]) == 1
    podman.must("apply", bundle, "--tag", "arrived:2")
    for tag in ("upgraded:2", "arrived:2"):
        newer = podman.run(tag, tag[:-2])
        assert podman.ask(newer, "predict", text=QUESTION) == answer
        podman.api.stop(newer)


def test_a_bundle_whose_base_is_missing(upgraded: tuple[Host, Host], tmp_path: Path) -> None:
    here, there = upgraded
    here.run_script("first", ["/srv"], "import os; os.mkdir('/srv')")
    here.api.commit("first", "other", "1")
    here.run_script("second", ["/srv"], image="other:1")
    here.must("push", "second", str(tmp_path / "x.tar"))
    outcome = there.bundle("ingest", str(tmp_path / "x.tar"), "--onto", NEWER, "--tag", "upgraded:2")
    assert outcome.code == 10, outcome.err


OLD_SETUP = f"""
{STATE_SETUP}
import socket
os.mkfifo('/srv/state/fifo'); os.link('/srv/state/fifo', '/srv/state/fifo-again')
socket.socket(socket.AF_UNIX).bind('/srv/state/socket')
os.symlink('/srv/state', '/linked')
os.mkdir('/forbidden'); open('/forbidden/fine', 'w').close(); open('/forbidden/.wh.x', 'w').close()
"""

NEW_SETUP = """
import os
for name in ('there', 'kept/state', 'type/state/small'):
    os.makedirs(f'/new/{name}')
open('/new/kept/state/mine', 'w').write('mine'); open('/new/file', 'w').write('mine')
open('/new/type/deep', 'w').write('a file')
os.symlink('there', '/new/link'); os.symlink('/proc', '/new/proc'); os.symlink('loop', '/new/loop')
os.symlink('/etc/passwd', '/new/there/dangling')
"""

RULES = {
    ("/srv/state/small", "/new/named"): "",
    ("/srv/state/small", "/new/missing/parents/named"): "",
    ("/srv/state/small", "/new/there"): "",
    ("/srv/state/small", "/new/link/via-link"): "",
    ("/srv/state/small", "/new/made/"): "",
    ("/srv/state/small", "/new/file"): "",
    ("/srv/state/deep/link", "/new/copied-link"): "",
    ("/srv/state/dangling", "/new/there"): "",
    ("/linked/deep/er", "/new/er"): "",
    ("/srv/state", "/new/whole"): "",
    ("/srv/state/", "/new/kept"): "",
    ("/srv/state/nothing", "/new/x"): "does not exist in the old container",
    ("srv/state", "/new/x"): "is not absolute",
    ("", "/new/x"): "is not absolute",
    ("/srv/../srv/state", "/new/x"): "is not a clean path",
    ("/proc/1/environ", "/new/x"): "lies in /proc",
    ("/", "/new/x"): "is the root",
    ("/srv/state/small", "new"): "is not absolute",
    ("/srv/state/small", "/new/../x"): "is not a clean path",
    ("/srv/state/small", "/dev/x"): "lies in /dev",
    ("/srv/state/small", "/new/proc/x"): "lies in /proc",
    ("/srv/state/small", "/new/loop/x"): "loop of symbolic links",
    ("/srv/state/small", "/new/file/x"): "is no directory",
    ("/srv/state/small", "/new/type/state"): "cannot overwrite",
    ("/srv/state/deep", "/new/type"): "cannot overwrite",
    ("/srv/state/small", "/new/.wh.x"): "cannot be part of an image",
    ("/srv/state/small", "/new/.wh.dir/x"): "cannot be part of an image",
    ("/forbidden", "/new/forbidden"): "cannot be part of an image",
}


@pytest.mark.parametrize("engine", ["here", "podman"])
def test_copies_go_where_docker_cp_would_put_them(request: pytest.FixtureRequest, engine: str) -> None:
    host: Host = request.getfixturevalue(engine)
    old = host.run_script("first", [], OLD_SETUP)
    if host.is_podman:
        host.api.stop(old, timeout=0)  # two models cannot listen on one port of the host
    host.script_image(SCRIPTED, list(RULES), setup=NEW_SETUP)
    host.must("ingest", "first", "--onto", SCRIPTED, "--tag", "copied:1")
    found = results(host, "copied:1")
    for asked, expected in RULES.items():
        assert (expected in found[asked]) if expected else (found[asked] == ""), (asked, found[asked])

    copy = host.api.create_container("copied:1", ["x"])["Id"]
    source, tree = host.tree(old, "/srv/state"), host.tree(copy, "/new")
    small = source["state/deep/also-small"]  # the first name of that file
    for name in ("named", "missing/parents/named", "there/small", "there/via-link", "made/small", "file"):
        assert tree[f"new/{name}"] == small, name
    assert tree["new/copied-link"] == source["state/deep/link"]
    assert tree["new/there/dangling"] == source["state/dangling"]
    expected = {
        name.replace("state", "new/whole", 1): (*entry[:6], entry[6].replace("state/", "new/whole/", 1), *entry[7:])
        for name, entry in source.items()
        if "fifo" not in name and "socket" not in name
    }
    assert {name: entry for name, entry in tree.items() if f"{name}/".startswith("new/whole/")} == expected
    assert "new/kept/state/mine" in tree
    assert tree["new/kept/state/deep/also-big"][0] == b"1"
    assert tree["new/type/deep"][4] == len("a file")
    assert not any(".wh." in name for name in tree)


@pytest.mark.parametrize("engine", ["here", "podman"])
def test_a_destination_inside_a_declared_volume(request: pytest.FixtureRequest, engine: str) -> None:
    here: Host = request.getfixturevalue(engine)
    old = here.run_script("first", [], "import os; os.mkdir('/srv'); open('/srv/file', 'w').write('x')")
    if here.is_podman:
        here.api.stop(old)
    here.script_image(SCRIPTED, [("/srv/file", "/data/deep/file")], setup="import os; os.mkdir('/data')", volumes=["/data"])
    here.must("ingest", "first", "--onto", SCRIPTED, "--tag", "copied:1")
    assert here.api.inspect_image("copied:1")["Config"]["Volumes"] == {"/data": {}}
    assert here.output("copied:1", "print(open('/data/deep/file').read())") == "x\n"


def test_mounts_of_the_old_container(here: Host) -> None:
    setup = "for name in ('volume', 'tmpfs'):\n open(f'/srv/{name}/file', 'w').write(name)"
    mounts = {"Tmpfs": {"/srv/tmpfs": ""}, "Binds": ["ingested-volume:/srv/volume"]}
    old = here.run_script("first", [], setup, host_config=mounts)
    here.script_image(SCRIPTED, [("/srv", "/all"), ("/srv/tmpfs/file", "/x"), ("/srv/volume/file", "/y")])
    here.must("ingest", "first", "--onto", SCRIPTED, "--tag", "copied:1")
    assert "tmpfs" in results(here, "copied:1")["/srv/tmpfs/file", "/x"]
    names = "import os; print(sorted(os.listdir('/all')), os.listdir('/all/tmpfs'), os.listdir('/all/volume'), open('/y').read())"
    assert here.output("copied:1", names) == "['tmpfs', 'volume'] [] ['file'] volume\n"
    here.api.remove_container(old, force=True)
    here.api.remove_volume("ingested-volume")


def test_mounts_on_podman_are_read_of_a_container_that_runs(podman: Host) -> None:
    setup = "import time; open('/srv/volume/file', 'w').write('x'); open('/srv/plain', 'w').write('y')"
    mounted = {"host_config": {"Binds": ["ingested-volume:/srv/volume"]}}
    old = podman.run_python("first", f"{setup}\ntime.sleep(600)", {}, MODEL, **mounted)
    podman.script_image(SCRIPTED, [("/srv/volume/file", "/volume"), ("/srv/plain", "/plain")])
    ingest = ("ingest", "first", "--onto", SCRIPTED, "--tag", "copied:1")
    podman.must(*ingest, "--no-export")
    assert podman.output("copied:1", "print(open('/volume').read(), open('/plain').read())") == "x y\n"
    podman.api.stop(old)
    podman.must(*ingest)
    found = results(podman, "copied:1")
    assert "can be read unchanged on this engine only while the container runs" in found["/srv/volume/file", "/volume"]
    assert found["/srv/plain", "/plain"] == ""
    podman.api.remove_container(old, force=True)
    podman.api.remove_volume("ingested-volume")


@pytest.mark.timeout(300 + REQUESTS)
def test_many_requests_in_flight_are_answered_in_order(here: Host) -> None:
    here.run_script("first", [], "import os; os.mkdir('/srv'); [open(f'/srv/{n}', 'w').write(str(n)) for n in range(10)]")
    asked = [(f"/srv/{number % 11}", f"/new/{number}") for number in range(REQUESTS)]
    here.script_image(SCRIPTED, asked, mood="many in flight")
    started = time.monotonic()
    process = here.start("ingest", "first", "--onto", SCRIPTED, "--tag", "copied:1", "--quiet")
    _, err = process.communicate(timeout=60 + REQUESTS)
    assert process.returncode == 0, err
    print(f"{REQUESTS} requests in {time.monotonic() - started:.1f} s")
    found = results(here, "copied:1")
    assert list(found) == asked
    assert [bool(error) for error in found.values()] == [number % 11 == 10 for number in range(REQUESTS)]


@pytest.mark.parametrize("engine", ["here", "podman"])
def test_a_directory_of_many_files(request: pytest.FixtureRequest, engine: str) -> None:
    here: Host = request.getfixturevalue(engine)
    setup = "import os; os.mkdir('/srv'); [open(f'/srv/{number:04}', 'w').write(str(number)) for number in range(1_500)]"
    old = here.run_script("first", [], setup)
    if here.is_podman:
        here.api.stop(old)
    here.script_image(SCRIPTED, [("/srv", "/srv")], mood="strict")
    outcome = here.must("ingest", "first", "--onto", SCRIPTED, "--tag", "copied:1", "--json").json
    assert outcome["copies"][0]["entries"] == 1_501
    assert here.tree(here.api.create_container("copied:1")["Id"], "/srv") == here.tree(old, "/srv")


FAILING = {
    "strict": ([], "cannot live without /srv/nothing", ""),
    "silent": (["--idle-timeout", "1"], "sent no request for 1 s", "I have nothing to say"),
    "dying": ([], "failed Ingest", "I am dying"),
}


@pytest.mark.parametrize("engine", ["here", "podman"])
def test_a_model_that_fails_its_ingest_leaves_nothing(request: pytest.FixtureRequest, engine: str) -> None:
    here: Host = request.getfixturevalue(engine)
    old = here.run_script("first", [], "import os; os.mkdir('/srv')")
    if here.is_podman:
        here.api.stop(old)
    for mood, (options, message, log) in FAILING.items():
        here.script_image(f"{mood}:2", [("/srv", "/srv"), ("/srv/nothing", "/x")], mood=mood)
        before = everything(here)
        outcome = here.bundle("ingest", "first", "--onto", f"{mood}:2", "--tag", "copied:1", *options)
        assert outcome.code == 3, (mood, outcome.err)
        assert message in outcome.err, mood
        assert log in outcome.err, mood
        assert everything(here) == before, mood
        assert not here.paused(old), mood


def test_keep_leaves_the_container_of_a_model_that_failed(here: Host) -> None:
    here.run_script("first", [], "import os; os.mkdir('/srv')")
    here.script_image(SCRIPTED, [("/srv/nothing", "/x")], mood="strict")
    options = ["--network", "bridge", "--memory", "256m", "--env", "SITE=7", "--env", "MODE=new"]
    outcome = here.bundle("ingest", "first", "--onto", SCRIPTED, "--tag", "copied:1", "--keep", *options)
    assert outcome.code == 3
    kept = here.api.inspect_container(outcome.err.rpartition("is kept: ")[2].split()[0])
    assert kept["State"]["Running"]
    assert (kept["HostConfig"]["NetworkMode"], kept["HostConfig"]["Memory"]) == ("bridge", 256 << 20)
    assert {"SITE=7", "MODE=new"} < set(kept["Config"]["Env"])


WRONG = {
    ("--memory", "lots"): (2, "is not an amount of memory"),
    ("--gpus", "some"): (2, "is not a choice of GPUs"),
    ("--endpoint", "nonsense"): (2, "is not an endpoint"),
    ("--tag", "oci:x"): (2, "is not a name for an image"),
    ("--push", "A bundle"): (2, "is no repository name"),
    ("--push", "127.0.0.1:1/team/x:1"): (5, "127.0.0.1:1"),
    ("--onto", "unstartable:1", "--keep"): (4, "/nowhere"),
    ("--network", "nowhere"): (4, "network nowhere not found"),
    ("--network", "none"): (3, "the container has no address"),
    ("--endpoint", "127.0.0.1:1", "--wait", "0.5"): (3, "no Migrator answered at 127.0.0.1:1 within 0.5 s"),
    ("--onto", "ending:1", "--wait", "5"): (3, "has exited"),
}


def test_what_is_wrong_is_told_and_leaves_nothing(here: Host) -> None:
    old = here.run_script("first", [], "import os; os.mkdir('/srv')")
    here.script_image(SCRIPTED, [])
    python = here.api.inspect_image(MODEL)["Config"]["Cmd"][0]
    for name, command in (("unstartable", ["/nowhere"]), ("ending", [python, "-c", "raise SystemExit('no weights')"])):
        here.api.commit(here.api.create_container(MODEL)["Id"], name, "1", changes=[f"CMD {json.dumps(command)}"])
    before = everything(here)
    for options, (code, saying) in WRONG.items():
        outcome = here.bundle("ingest", "first", "--onto", SCRIPTED, "--tag", "copied:1", *options)
        assert outcome.code == code, (options, outcome.err)
        assert saying in outcome.err, options
        assert outcome.out == ""
        assert everything(here) == before, options
        assert not here.paused(old)
    assert "no weights" in outcome.err
    assert not list((here.home / "state").rglob("temporary/*"))


def test_a_place_that_goes_away_costs_the_bundle_alone(here: Host, tmp_path: Path) -> None:
    here.run_script("first", [], "import os; os.mkdir('/srv'); open('/srv/file', 'w').write('x')")
    here.script_image(SCRIPTED, [("/srv/file", "/script/file")])
    (tmp_path / "file").touch()
    to = f"oci:{tmp_path}/file/x:1"  # found to be no good only when it is written to
    outcome = here.bundle("ingest", "first", "--onto", SCRIPTED, "--tag", "copied:1", "--push", to, "--json", "--quiet")
    assert outcome.code == 5, outcome.err
    assert outcome.json["bundle"] is None
    assert here.api.inspect_image("copied:1")["Id"] == outcome.json["imageID"]
    assert "copied:1 is complete and can be pushed later" in outcome.err
    kept = outcome.err.rpartition("fps-bundle copy ")[2].split()[0]
    here.must("copy", kept, str(tmp_path / "x.tar"))
    here.must("apply", str(tmp_path / "x.tar"), "--tag", "applied:1")
    assert here.output("applied:1", "print(open('/script/file').read())") == "x\n"


def test_what_is_not_there_is_told_before_anything_is_done(here: Host) -> None:
    here.script_image(SCRIPTED, [])
    before = everything(here)
    assert here.bundle("ingest", "nobody", "--onto", SCRIPTED, "--tag", "copied:1").code == 6
    assert here.bundle("ingest", "nobody:1", "--onto", SCRIPTED, "--tag", "copied:1").code == 6
    assert here.bundle("ingest", "nobody", "--onto", "nothing:1", "--tag", "copied:1").code == 6
    assert here.bundle("ingest", "nobody", "--onto", SCRIPTED, "--tag", MODEL).code == 2
    assert everything(here) == before


def test_an_image_with_state_is_no_clean_base(here: Host) -> None:
    here.run_script("first", ["/srv"], "import os; os.mkdir('/srv')")
    here.must("push", "first", "x:1")
    here.must("apply", "x:1", "--tag", "applied:1")
    outcome = here.bundle("ingest", "first", "--onto", "applied:1", "--tag", "copied:1")
    assert outcome.code == 2
    assert "is not a clean base" in outcome.err


LARGE = "import os; os.mkdir('/srv')\nwith open('/srv/large', 'wb') as f:\n for _ in range(32): f.write(os.urandom(1 << 20))"
"""A file that is larger than all that lies in buffers between its reader and the engine."""


@pytest.mark.operation("clean-up")
def test_an_ingest_that_is_ended_in_the_middle(here: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = here.run_script("first", [], "import os; os.mkdir('/srv'); open('/srv/file', 'w').close()")
    here.script_image(SCRIPTED, [("/srv/file", "/file")])
    before = everything(here)
    with silenced(here.address, tmp_path / "socket", b"PUT /") as silence:  # a file never arrives in the new container
        monkeypatch.setitem(here.environment, "DOCKER_HOST", silence.address)
        for sign in (*INTERRUPTED, signal.SIGKILL):
            process = here.start("ingest", "first", "--onto", SCRIPTED, "--tag", "copied:1", "--keep")
            wait_until(lambda: here.paused(old))
            process.send_signal(sign)
            process.communicate(timeout=120)
            wait_until(lambda: not here.paused(old), within(3))
            if sign in INTERRUPTED:
                assert process.returncode == INTERRUPTED[sign]
                assert everything(here) == before, sign
                assert "interrupted run" not in here.must("doctor").err, sign
        silence.end()
        outcome = here.must("ingest", "first", "--onto", SCRIPTED, "--tag", "copied:1", "--quiet")
    assert "interrupted run: removed fps-bundle-" in outcome.err
    containers, images = everything(here)
    assert containers == before[0]
    assert {name for image in images - before[1] for name in image[1:]} == {"copied:1"}


MOMENTS = {"reading": b"PUT /", "committing": b"/commit?"}


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_engine_that_is_restarted_in_the_middle(saved_models: Path, tmp_path: Path, moment: str) -> None:
    with private_daemon() as daemon:
        host = Host(daemon.address, tmp_path)
        host.take_model(saved_models)
        old = host.run_script("first", [], LARGE)
        host.script_image(SCRIPTED, [("/srv/large", "/large")])
        before = everything(host)
        with held(daemon.address, tmp_path / "socket", MOMENTS[moment]) as hold:
            process = host.start("ingest", "first", "--onto", SCRIPTED, "--tag", "copied:1", "--host", hold.address)
            assert hold.begun.wait(120)
            daemon.stop()
            hold.end()
            _, err = process.communicate(timeout=120)
            assert process.returncode in (3, 4), err
            assert "bug:" not in err
            daemon.start()
            assert not host.paused(old)
            host.must("doctor", "--host", hold.address)
        containers, images = everything(host)
        assert (set(containers), images) == (set(before[0]), before[1])
        host.must("ingest", "first", "--onto", SCRIPTED, "--tag", "copied:1", "--quiet")


def test_two_ingests_into_one_name(here: Host, tmp_path: Path) -> None:
    here.run_script("first", [], LARGE)
    here.script_image(SCRIPTED, [("/srv/large", "/large")])
    with held(here.address, tmp_path / "socket", b"PUT /") as hold:
        process = here.start("ingest", "first", "--onto", SCRIPTED, "--tag", "copied:1", "--quiet", "--host", hold.address)
        assert hold.begun.wait(120)
        outcome = here.bundle("ingest", "first", "--onto", SCRIPTED, "--tag", "copied:1")
        hold.end()
        process.communicate(timeout=120)
    assert outcome.code == 12
    assert "another fps-bundle is using" in outcome.err
    assert process.returncode == 0


def test_an_old_container_that_is_removed_underneath(here: Host, tmp_path: Path) -> None:
    old = here.run_script("first", [], LARGE)
    here.script_image(SCRIPTED, [("/srv/large", "/large"), ("/srv/large", "/again")], mood="strict")
    with held(here.address, tmp_path / "socket", b"PUT /") as hold:
        process = here.start("ingest", "first", "--onto", SCRIPTED, "--tag", "copied:1", "--host", hold.address)
        assert hold.begun.wait(120)
        here.api.remove_container(old, force=True)
        before = everything(here)
        hold.end()
        _, err = process.communicate(timeout=120)
    assert process.returncode in (0, 3, 4), err
    assert "bug:" not in err
    if process.returncode:
        assert "copied:1" not in str(everything(here)[1])
        assert set(everything(here)[0]) <= set(before[0])
