"""A running container is replaced by one of the new image, with all its run options, or runs on as it was."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
import pytest
from guardedsocket import guarded
from world import MODEL, Host, wait_until

NONE: Mapping[str, Any] = {}
SIGNAL = "import signal, time; signal.signal(2, lambda *_: exit(0)); time.sleep(100000)"
BOUND = "/usr/share"
"""A directory that exists on the host of every engine."""
READY = "open('/ready')"
"""A health check that succeeds only in a container that was given this file."""


Networks = Mapping[str, Mapping[str, Any]]
"""Settings of endpoints, by the names of their networks."""


@pytest.fixture
def networks(here: Host) -> Iterator[Networks]:
    """Two networks with subnets of their own; of Podman with Netavark the default one, as others need its name server."""
    if here.is_podman and not here.api.version()["Version"].startswith("4."):
        subnet = ipaddress.IPv4Network(here.api.inspect_network("podman")["IPAM"]["Config"][0]["Subnet"])
        yield {"podman": {"IPAMConfig": {"IPv4Address": str(subnet[77])}}}
        return
    subnets = random.SystemRandom().sample(list(ipaddress.IPv4Network("10.214.0.0/15").subnets(new_prefix=24)), 2)
    endpoints = {}
    for name, subnet in zip(("replace-first", "replace-second"), subnets, strict=True):
        pool = docker.types.IPAMPool(subnet=str(subnet), gateway=str(subnet[1]))
        here.api.create_network(name, driver="bridge", ipam=docker.types.IPAMConfig(pool_configs=[pool]))
        endpoints[name] = {"Aliases": [name, "detector"], "IPAMConfig": {"IPv4Address": str(subnet[77])}}
    yield endpoints
    here.clean()
    for name in endpoints:
        here.api.remove_network(name)


@pytest.fixture
def bundles(here: Host, tmp_path: Path) -> list[str]:
    """Two generations of a model's state."""
    container = here.run(MODEL, "first")
    paths = [str(tmp_path / f"{number}.tar") for number in range(2)]
    for path in paths:
        here.ask(container, "learn", text=f"smoke {path}", label="fire")
        here.must("push", "first", path)
    here.api.remove_container(container, force=True)
    return paths


def create(host: Host, name: str, body: Mapping[str, Any], networks: Networks = NONE) -> str:
    """Create and start a container by a request of its own; gives its ID."""
    api = host.api
    url = f"{api.base_url}/v{api.api_version}"
    response = api.post(f"{url}/containers/create", json=body, params={"name": name})
    assert response.ok, response.text
    container: str = response.json()["Id"]
    for network, endpoint in networks.items():
        response = api.post(f"{url}/networks/{network}/connect", json={"Container": container, "EndpointConfig": endpoint})
        assert response.ok, response.text
    api.start(container)
    return container


def everything(host: Host, networks: Networks) -> dict[str, Any]:
    """A request with every run option that docs/user/replace.md names and that this machine allows."""
    python = host.api.inspect_image(MODEL)["Config"]["Cmd"][0]
    check = {"Test": ["CMD", python, "-c", "pass"], "Interval": 1_000_000_000, "Timeout": 60_000_000_000, "Retries": 2}
    options = {
        "Binds": [f"{BOUND}:/bound:ro", "replace-named:/named"],
        "Mounts": [
            {"Type": "volume", "Source": "replace-mounted", "Target": "/mounted"},
            {"Type": "bind", "Source": BOUND, "Target": "/bound-too", "ReadOnly": True},
            {"Type": "tmpfs", "Target": "/mounted-tmpfs", "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o1777}},
        ],
        "Tmpfs": {"/scratch": "size=1m,mode=1777"},
        "PortBindings": {"9000/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
        "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/model", "CgroupPermissions": "rw"}],
        "Memory": 256 << 20,
        "MemorySwap": 512 << 20,
        "MemoryReservation": 64 << 20,
        "NanoCpus": 1_500_000_000,
        "CpuShares": 512,
        "CpusetCpus": "0",
        "PidsLimit": 100,
        "OomScoreAdj": 300,
        "ShmSize": 32 << 20,
        "Init": True,
        "IpcMode": "shareable",
        "CgroupnsMode": "host",
        "CapAdd": ["NET_ADMIN"],
        "CapDrop": ["MKNOD"],
        "SecurityOpt": ["no-new-privileges"],
        "Sysctls": {"net.ipv4.ip_forward": "1"},
        "Ulimits": [{"Name": "nofile", "Soft": 512, "Hard": 1024}, {"Name": "nproc", "Soft": 900, "Hard": 1000}],
        "Dns": ["10.0.0.53"],
        "DnsSearch": ["example.org"],
        "DnsOptions": ["ndots:2"],
        "ExtraHosts": ["peer:10.0.0.9"],
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 5},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
        "GroupAdd": ["44"],
        "ReadonlyRootfs": True,
        "NetworkMode": next(iter(networks)),
        "Runtime": "runc",
    }
    if host.is_podman:  # it has no init of its own here, and another log
        options |= {"LogConfig": {"Type": "k8s-file", "Config": {}}, "Init": False}
    first = next(iter(networks))
    return {
        "Image": MODEL,
        "Hostname": "modelhost",
        "Domainname": "example.org",
        "User": "1000:1000",
        "Env": ["EXTRA=1", "MODEL_VERSION=other"],
        "Entrypoint": [python],
        "Cmd": ["-c", SIGNAL],
        "WorkingDir": "/named",
        "Labels": {"site": "north"},
        "StopSignal": "SIGINT",
        "StopTimeout": 3,
        "OpenStdin": True,
        "ExposedPorts": {"9000/tcp": {}},
        "Healthcheck": check,
        "Volumes": {"/anonymous": {}},
        "HostConfig": options,
        "NetworkingConfig": {"EndpointsConfig": {first: networks[first]}},
    }


def settings(host: Host, container: str) -> dict[str, Any]:
    """What the engine reports of how a container was created, without its identity and what it is given at each start."""
    found = host.api.inspect_container(container)
    config, options = found["Config"], found["HostConfig"]
    config["Env"] = sorted(line for line in config["Env"] if not line.startswith("HOME="))  # Podman adds it at some start
    config["Labels"] = {key: value for key, value in config["Labels"].items() if not key.startswith("fps.bundle.")}
    del config["Image"]
    config.pop("Volumes")  # those of the image and new ones; `Mounts` has them all
    options["Binds"] = sorted(bind for bind in options["Binds"] if ":/anonymous" not in bind)
    ports = options.pop("PortBindings")
    endpoints = {
        name: (endpoint["IPAddress"], set(endpoint["Aliases"]) - {found["Id"][:12]})
        for name, endpoint in found["NetworkSettings"]["Networks"].items()
    }
    mounts = {mount["Destination"]: (mount["Type"], mount.get("Name"), mount["RW"]) for mount in found["Mounts"]}
    published = {port: bindings[0]["HostIp"] for port, bindings in ports.items() if bindings}
    return {"Config": config, "HostConfig": options, "networks": endpoints, "mounts": mounts, "ports": published}


def policy(host: Host, container: str) -> str:
    name: str = host.api.inspect_container(container)["HostConfig"]["RestartPolicy"]["Name"]
    return name or "no"


def states(host: Host) -> dict[str, str]:
    """Whether each container runs, by name."""
    return {container["Names"][0].lstrip("/"): container["State"] for container in host.api.containers(all=True)}


def identity(host: Host, name: str) -> str:
    return str(host.api.inspect_container(name)["Id"])


@pytest.mark.operation("replace")
def test_a_replaced_container_keeps_every_run_option(here: Host, networks: Networks, bundles: list[str]) -> None:
    _, *others = networks
    old = create(here, "model", everything(here, networks), {name: networks[name] for name in others})
    before = settings(here, old)

    result = here.must("apply", bundles[0], "--tag", "detector:1", "--replace", "model", "--json").json["container"]
    new = result["id"]
    assert result == {
        "name": "model",
        "id": new,
        "imageID": result["imageID"],
        "previous": "model-previous",
        "ready": "health check",
    }
    assert settings(here, new) == before
    assert here.api.inspect_container("model")["Image"].removeprefix("sha256:") == result["imageID"].removeprefix("sha256:")
    assert states(here) == {"model": "running", "model-previous": "exited"}
    kept_policy = policy(here, old)
    assert kept_policy == ("no" if not here.is_podman or kept_policy == "no" else "on-failure")

    again = here.must("apply", bundles[0], "--tag", "detector:1", "--replace", "model", "--json").json
    assert (again["existed"], again["container"]["id"], again["container"]["ready"]) == (True, new, None)

    undone = here.must("undo", "--container", "model", "--json").json["container"]
    assert (undone["id"], undone["previous"]) == (old, "model-previous")
    assert settings(here, "model") == before
    assert (identity(here, "model-previous"), states(here)) == (new, {"model": "running", "model-previous": "exited"})
    here.must("undo", "--container", "model")
    assert identity(here, "model") == new

    third = here.must("apply", bundles[1], "--tag", "detector:2", "--replace", "model", "--json").json["container"]["id"]
    assert settings(here, third) == before
    assert identity(here, "model-previous") == new
    assert states(here) == {"model": "running", "model-previous": "exited"}


@pytest.mark.operation("replace")
def test_a_container_that_does_not_get_ready_is_undone(here: Host, bundles: list[str]) -> None:
    python = here.api.inspect_image(MODEL)["Config"]["Cmd"][0]
    health = {"Test": ["CMD", python, "-c", READY], "Interval": 500_000_000, "Timeout": 60_000_000_000, "Retries": 1}
    code = f"import sys; print('\\x1b[31mlooking for /ready', flush=True); {SIGNAL}"
    body = {"Image": MODEL, "Cmd": [python, "-c", code], "StopSignal": "SIGINT", "Healthcheck": health, "Volumes": {"/cache": {}}}
    old = create(here, "model", {**body, "HostConfig": {"RestartPolicy": {"Name": "unless-stopped"}}})
    here.execute(old, "open('/ready', 'w'); open('/cache/kept', 'w')")
    before = here.api.inspect_container(old)

    outcome = here.bundle("apply", bundles[0], "--tag", "detector:1", "--replace", "model", "--ready-timeout", "3")
    assert outcome.code == 3
    assert "not healthy within 3 s" in outcome.err
    assert "\\x1b[31mlooking for /ready" in outcome.err
    assert "The new image stays as detector:1" in outcome.err
    after = here.api.inspect_container("model")
    assert (after["Id"], states(here), policy(here, "model")) == (old, {"model": "running"}, "unless-stopped")
    assert after["Mounts"] == before["Mounts"]
    here.execute(old, "open('/cache/kept')")
    assert here.bundle("undo", "--container", "model").code == 6


@pytest.mark.parametrize("request_", [b"/stop", b"/rename", b"/start"])
def test_a_killed_replacement_is_undone_by_the_next_command(
    here: Host, bundles: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    old = here.run(
        MODEL, "model", stop_signal="SIGKILL", host_config=here.api.create_host_config(restart_policy={"Name": "always"})
    )
    here.ask(old, "predict", text="smoke")
    command = ("apply", bundles[0], "--tag", "detector:1", "--replace", "model")
    with guarded(here.address, tmp_path / "engine.sock", request_) as address:
        # Its notes are those of the real engine: the next command speaks to that under this address.
        monkeypatch.setitem(here.environment, "DOCKER_HOST", address)
        assert here.start(*command).wait() == -9
    (tmp_path / "engine.sock").unlink()
    (tmp_path / "engine.sock").symlink_to(here.address.removeprefix("unix://"))
    assert list(states(here).values()).count("running") <= 1
    outcome = here.bundle("undo", "nothing:1")
    assert outcome.code == 6
    assert "undid the replacement of the container model; the old one runs" in outcome.err
    assert (identity(here, "model"), states(here), policy(here, old)) == (old, {"model": "running"}, "always")
    if request_ == b"/start":
        assert here.must(*command, "--json").json["container"]["ready"] == "Migrator"
        wait_until(lambda: here.ask(identity(here, "model"), "predict", text="smoke"))
        assert states(here) == {"model": "running", "model-previous": "exited"}


def test_a_container_of_compose_and_one_that_would_vanish_are_refused(here: Host, bundles: list[str]) -> None:
    labels = {"com.docker.compose.project": "site", "com.docker.compose.service": "detector"}
    here.run(MODEL, "composed", labels=labels)
    here.run(MODEL, "vanishing", host_config=here.api.create_host_config(auto_remove=True))
    here.run(MODEL, "mounted", stop_signal="SIGKILL", host_config=here.api.create_host_config(binds=["replace-state:/opt/model"]))
    before, images = states(here), here.images()
    composed = here.bundle("apply", bundles[0], "--replace", "composed")
    assert (composed.code, "docker compose --project-name site up --detach detector" in composed.err) == (2, True)
    for name, why in (("vanishing", "--rm"), ("mounted", "--keep-mounted-state")):
        outcome = here.bundle("apply", bundles[0], "--replace", name)
        assert (outcome.code, why in outcome.err) == (2, True), outcome.err
    assert (states(here), here.images()) == (before, images)
    assert (
        here.must("apply", bundles[0], "--replace", "mounted", "--keep-mounted-state", "--json").json["container"]["ready"]
        == "Migrator"
    )
