"""A Podman service of our own, spoken to by its Docker-compatible API; see `privateengine`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from privateengine import Bridge, SetupError, ensure, private_bridge, private_place, stop

START_TIMEOUT = 60

# The ulimits and the runtime are what a container of containers allows; see containers.conf(5).
_CONFIGURATION = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "{events}"
[network]
network_backend = "{backend}"
network_config_dir = "{root}/networks"
"""


@contextmanager
def private_podman(suite: str = "", events: str = "file") -> Iterator[str]:
    """Run a Podman service with everything of its own; gives its address for ``DOCKER_HOST``.

    ``suite`` is the Debian release that it is of, empty for that of this host; ``events`` is the ``events_logger`` of
    containers.conf(5).
    """
    podman = "podman" if suite else ensure("podman", "podman", "containernetworking-plugins")
    ensure("runc", "runc")
    ensure("iptables", "iptables")
    with private_place(suite) as place, private_bridge() as bridge:
        root = place.inside
        backend = "netavark" if suite else "cni"
        (place.outside / "containers.conf").write_text(_CONFIGURATION.format(root=root, backend=backend, events=events))
        (place.outside / "networks").mkdir()
        if suite:
            (place.outside / "networks" / "podman.json").write_text(json.dumps(_netavark(bridge)))
        else:
            (place.outside / "networks" / "podman.conflist").write_text(json.dumps(_cni(bridge, root)))
        # Podman looks for the packages of conmon and runc at each `version` and `info`: `dpkg -S` in an empty database ends at once.
        (place.outside / "dpkg" / "info").mkdir(parents=True)
        (place.outside / "dpkg" / "status").touch()
        settings = {"CONTAINERS_CONF": f"{root}/containers.conf", "NETAVARK_FW": "none", "DPKG_ADMINDIR": f"{root}/dpkg"}
        environment = {**os.environ, **settings}
        command = [*place.prefix, podman, f"--root={root}/data", f"--runroot={root}/run", f"--tmpdir={root}/tmp"]
        with (place.outside / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "system", "service", "--time=0", f"unix://{root}/podman.sock"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        try:
            _wait_until_up(process, place.outside)
            yield f"unix://{place.outside}/podman.sock"
        finally:
            # By the service, as in a mount namespace of its own another Podman does not see the service's mounts.
            _remove_containers(f"unix://{place.outside}/podman.sock")
            stop(process)


def _cni(bridge: Bridge, root: Path) -> Mapping[str, object]:
    """The default network of Podman before 5, on a bridge of ours and without firewall rules (CNI, plugin ``bridge``)."""
    addresses = [[{"subnet": str(bridge.network), "gateway": str(bridge.network[1])}]]
    ipam = {"type": "host-local", "ranges": addresses, "dataDir": f"{root}/addresses"}
    plugin = {"type": "bridge", "bridge": bridge.name, "isGateway": True, "hairpinMode": True, "ipam": ipam}
    return {"cniVersion": "0.4.0", "name": "podman", "plugins": [plugin]}


def _netavark(bridge: Bridge) -> Mapping[str, object]:
    """The same for Podman from 5 on (containers/common, libnetwork/types); ``NETAVARK_FW`` keeps it from firewall rules."""
    return {
        "name": "podman",
        "id": "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9",
        "driver": "bridge",
        "network_interface": bridge.name,
        "subnets": [{"subnet": str(bridge.network), "gateway": str(bridge.network[1])}],
        "ipv6_enabled": False,
        "internal": False,
        "dns_enabled": False,
        "ipam_options": {"driver": "host-local"},
    }


def _wait_until_up(process: subprocess.Popen[bytes], place: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not (place / "podman.sock").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SetupError(f"podman did not come up:\n{(place / 'log').read_text()[-3000:]}")
        time.sleep(0.1)


def _remove_containers(address: str) -> None:
    import docker

    with contextlib.suppress(docker.errors.DockerException, OSError):
        api = docker.APIClient(base_url=address, version="auto", timeout=60)
        for container in api.containers(all=True):
            api.remove_container(container["Id"], force=True, v=True)
