"""`push --pid`: the container of a process, whatever started it, gives the bundle that a push through its engine gives."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from privatecontainerd import Containerd, private_containerd
from privateengine import ensure, private_bridge
from test_exact import DELETIONS
from test_round_trip import STATE_SETUP
from world import MODEL, Host, program, serves, wait_until

STATE = ("/srv/state", "/app")
SETUP = f"""{STATE_SETUP.replace("os.urandom(1 << 20)", "bytes(range(256)) * 4096")}{DELETIONS}
os.makedirs('/opt/outside'); os.symlink('/opt/outside', '/srv/state/outward')
for top in ('/srv', '/app'):
    for where, folders, files in os.walk(top, topdown=False):
        for name in files + folders:
            os.utime(os.path.join(where, name), (1600000000, 1600000000), follow_symlinks=False)
    os.utime(top, (1600000000, 1600000000))
"""
"""A state that is the same in every container that makes it."""
GROW = "open('/srv/state/grown', 'w').write('more'); import os; os.remove('/srv/state/empty')"


@pytest.fixture(scope="module")
def base(builder: Host, registry: str) -> str:
    """The base image in the registry."""
    return builder.push_model(f"{registry}/pid/base:1.0")


def pushed(host: Host, dest: str, *arguments: str) -> tuple[dict[str, Any], list[Any]]:
    """Push; gives the metadata without what depends on how it was pushed, and the blobs of the layers."""
    host.must("push", *arguments, dest)
    found = host.must("inspect", dest, "--json").json
    metadata = found["metadata"]
    assert metadata.pop("created")
    metadata["source"] = metadata["source"]["engine"]
    for key in ("names", "repoDigests", "imageID"):
        metadata["base"].pop(key)
    return metadata, found["manifest"]["layers"]


@pytest.mark.operation("exactness")
def test_a_process_gives_the_bundle_that_its_engine_gives(here: Host, base: str, tmp_path: Path) -> None:
    container = here.run_script("first", STATE, SETUP)
    pid = here.api.inspect_container(container)["State"]["Pid"]
    metadata, layers = pushed(here, f"oci:{tmp_path}/one:1", "first")
    by_pid, its_layers = pushed(here, f"oci:{tmp_path}/other:1", "--pid", str(pid), "--base", base)
    assert its_layers == layers
    assert by_pid.pop("source") == "process"
    metadata.pop("source")
    assert by_pid == metadata
    assert metadata["removed"] == ["/app/state.py"]
    assert not here.paused(container)
    assert json.loads(here.must("inspect", f"oci:{tmp_path}/other:1", "--json").out)["metadata"]["source"][
        "containerId"
    ].startswith("/")


def test_a_push_by_the_engine_and_one_by_the_process_exclude_each_other(here: Host, base: str, tmp_path: Path) -> None:
    """The name of the cgroup has the container's ID, by which a container is locked."""
    container = here.run_script("first", STATE, SETUP)
    pid = here.api.inspect_container(container)["State"]["Pid"]
    locks = here.home / "state" / "fps-bundle" / "locks"
    here.must("push", "--pid", str(pid), "--base", base, f"oci:{tmp_path}/l:1")
    assert (locks / f"container-{container}.lock").exists()


@dataclass(frozen=True)
class Runtime:
    """A containerd without Docker, and a network for one container."""

    containerd: Containerd
    network: str
    address: str

    @contextmanager
    def model(self, image: str, directory: Path, python: str, setup: str) -> Iterator[int]:
        """Run a model in a new container for the length of the block; gives its PID."""
        directory.mkdir()
        for file, text in {**program("scripted_model"), "paths": json.dumps(STATE), "mood": ""}.items():
            (directory / file).write_text(text)
        code = f"{setup}\nexec(open('/script/scripted_model.py').read())"
        mount = f"type=bind,src={directory},dst=/script,options=rbind:ro"
        options = ("--with-ns", f"network:{self.network}", "--env", "PYTHONPATH=/app", "--mount", mount)
        with self.running(image, options, python, "-c", code) as pid:
            wait_until(lambda: serves(self.address), 60)
            yield pid

    @contextmanager
    def running(self, image: str, options: Sequence[str], *command: str) -> Iterator[int]:
        """Run a command in a new container for the length of the block; gives its PID."""
        name = f"fps-{secrets.token_hex(4)}"
        self.containerd.pull(image)
        try:
            self.containerd.ctr("run", "--detach", *options, image, name, *command)
            yield int(self._task(name)[1])
        finally:
            self.containerd.ctr("task", "kill", "--signal", "SIGKILL", name)
            wait_until(lambda: self._task(name)[2] == "STOPPED", 60)
            self.containerd.ctr("task", "delete", name)
            self.containerd.ctr("container", "delete", name)

    def _task(self, name: str) -> list[str]:
        """Name, PID and state of a container's main process."""
        lines = [line.split() for line in self.containerd.ctr("task", "list").splitlines()]
        return next(line for line in lines if line[0] == name)


@pytest.fixture(scope="module")
def runtime() -> Iterator[Runtime]:
    with private_containerd() as containerd, network() as (path, address):
        yield Runtime(containerd, path, address)


@contextmanager
def network() -> Iterator[tuple[str, str]]:
    """A network namespace with an address that this host reaches, as network plugins make them."""
    ip, name = ensure("ip", "iproute2"), f"fps{secrets.token_hex(4)}"
    with private_bridge() as bridge:
        address = str(bridge.network[2])
        for command in (
            f"netns add {name}",
            f"link add v{name} type veth peer name eth0 netns {name}",
            f"link set v{name} master {bridge.name} up",
            f"-n {name} addr add {address}/24 dev eth0",
            f"-n {name} link set eth0 up",
        ):
            subprocess.run([ip, *command.split()], check=True)
        try:
            yield f"/run/netns/{name}", address
        finally:
            subprocess.run([ip, "netns", "delete", name], check=True)


def test_two_generations_of_a_model_of_containerd_alone(
    here: Host, runtime: Runtime, base: str, registry: str, tmp_path: Path
) -> None:
    """The first is the bundle that Docker gives; the second comes from the applied image, and has the first in its lineage."""
    here.run_script("first", STATE, SETUP)
    by_docker, layers = pushed(here, f"oci:{tmp_path}/docker:1", "first")
    python = str(here.api.inspect_image(MODEL)["Config"]["Cmd"][0])
    first, second, image = (f"{registry}/pid/{name}" for name in ("bundle:1", "bundle:2", "applied:1"))

    with runtime.model(base, tmp_path / "script", python, SETUP) as pid:
        process = ("--pid", str(pid), "--base")
        metadata, its_layers = pushed(here, first, *process, base)
        assert its_layers == layers
        for key in ("base", "image", "removed", "layers"):
            assert metadata[key] == by_docker[key]
        here.must("apply", first, "--to", image, "--base", base)
        outcome = here.bundle("push", *process, image)
        assert (outcome.code, "the container was not started from" in outcome.err) == (10, True), outcome.err
        audited = here.must("push", *process, base, "--audit", "--json", first)
        assert audited.json["unchanged"]
        assert {item["path"]: item["change"] for item in audited.json["forgotten"]}["/opt/outside"] == "added"
        assert "the targets of 1 exported symbolic link: /srv/state/outward -> /opt/outside" in audited.err

    with runtime.model(image, tmp_path / "again", python, GROW) as pid:
        metadata, _ = pushed(here, second, "--pid", str(pid), "--base", image)
    assert [it["digest"] for it in metadata["lineage"]] == [here.must("inspect", first, "--json").json["digest"]]
    assert metadata["base"]["diffIDs"] == by_docker["base"]["diffIDs"]
    assert metadata["removed"] == ["/app/state.py"]
    assert here.must("cat", second, "/srv/state/grown").out == "more"
    assert here.bundle("cat", second, "/srv/state/empty").code == 6


def test_what_cannot_be_pushed_is_refused_before_anything_is_paused(here: Host, runtime: Runtime, base: str) -> None:
    python = str(here.api.inspect_image(MODEL)["Config"]["Cmd"][0])
    gone = subprocess.Popen(["true"])
    gone.wait()
    with runtime.running(base, (), python, "-c", "import time; time.sleep(3600)") as lonely:
        pid = str(lonely)
        for arguments, code, words in (
            (("--pid", str(gone.pid), "--base", base), 6, f"there is no process with PID {gone.pid}"),
            (("--pid", str(os.getpid()), "--base", base), 2, "is in no container"),
            (("--pid", pid, "--base", f"{base}-none"), 6, "not found"),
            (("--pid", pid, "--base", base), 3, "cannot be reached"),
            (("--pid", pid, "--base", base, "--endpoint", "127.0.0.1:1", "--wait", "0.1"), 3, "127.0.0.1:1"),
            (("--pid", pid), 2, "--pid needs --base"),
            (("--pid", pid, "--base", base, "--start"), 2, "--start needs an engine"),
            (("--pid", pid, "--base", base, "--reader", "api"), 2, "--reader api needs an engine"),
            (("--pid", pid, "--base", "engine:x"), 2, "not read from an engine"),
            (("--pid", pid, "--base", base, "one", "two"), 2, "'one' another one"),
            ((), 2, "no container named"),
        ):
            outcome = here.bundle("push", *arguments)
            assert (outcome.code, words in outcome.err) == (code, True), (arguments, outcome.err)
    assert here.leftovers() == []
