"""A Docker engine of our own: installed if need be, started apart from any other, removed without a trace."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_TIMEOUT = 60
STOP_TIMEOUT = 60
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class SetupError(Exception):
    """The machine lacks something that cannot be installed here."""


def ensure(program: str, *packages: str) -> str:
    """The path of a program, after Debian's packages that bring it were installed where they are missing."""
    if found := shutil.which(program, path=_PATH):
        return found
    with machine_lock():
        return shutil.which(program, path=_PATH) or _install(program, packages)


def _install(program: str, packages: Sequence[str]) -> str:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SetupError(f"{program} is missing; install {' '.join(packages)}, or run this as root on Debian or Ubuntu")
    print(f"installing {' '.join(packages)} …", file=sys.stderr, flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    with _no_services():
        # A machine that never ran `apt-get update` has no lists to install from.
        for command in (install, ["apt-get", "update", "-qq"], install):
            result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if command is install and result.returncode == 0:
                break
        else:
            raise SetupError(f"apt-get could not install {' '.join(packages)}:\n{result.stdout}{result.stderr}")
    found = shutil.which(program, path=_PATH)
    if not found:
        raise SetupError(f"{' '.join(packages)} did not bring {program}")
    return found


@contextmanager
def machine_lock() -> Iterator[None]:
    """Do what changes the machine one after the other: several workers run tests, and apt-get refuses to run twice."""
    with (Path(tempfile.gettempdir()) / f"fps-tools-{os.geteuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Place:
    """The directory of one engine: as this host sees it, as the engine sees it, and the words before a command that runs there."""

    outside: Path
    inside: Path
    prefix: tuple[str, ...] = ()


@contextmanager
def private_place(suite: str = "") -> Iterator[Place]:
    """A new directory for an engine of this host, or of another Debian ``suite``, without a trace of it after the block."""
    if suite:
        from debianroot import debian_root, inside

        root = debian_root(suite)
        outside = Path(tempfile.mkdtemp(prefix="fps-engine-", dir=root / "srv"))
        place = Place(outside, Path("/srv") / outside.name, tuple(inside(root)))
    else:
        outside = Path(tempfile.mkdtemp(prefix="fps-engine-"))
        place = Place(outside, outside)
    outside.chmod(0o711)  # with --userns-remap the engine's files belong to another user
    try:
        yield place
    finally:
        unmount_below(outside)
        shutil.rmtree(outside, ignore_errors=True)


class Daemon:
    """A ``dockerd`` with everything of its own in ``place``, which can be stopped and started again."""

    def __init__(self, place: Place, bridge: str, configuration: Mapping[str, object], options: Sequence[str]) -> None:
        self._place = place
        self._process: subprocess.Popen[bytes] | None = None
        self.address = f"unix://{place.outside}/docker.sock"
        # Not the configuration of an engine that is installed here.
        (place.outside / "daemon.json").write_text(json.dumps(configuration))
        root = place.inside
        self._command = [
            *place.prefix,
            "dockerd" if place.prefix else ensure("dockerd", "docker.io", "iptables"),
            f"--data-root={root}/data",
            f"--exec-root={root}/exec",
            f"--pidfile={root}/pid",
            f"--host=unix://{root}/docker.sock",
            f"--bridge={bridge}",
            "--iptables=false",
            "--ip6tables=false",
            f"--config-file={root}/daemon.json",
            *options,
        ]

    def start(self) -> None:
        with (self._place.outside / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PATH": _PATH},
                start_new_session=True,
            )
        _wait_until_up(self._process, self._place.outside)

    def stop(self) -> None:
        if self._process:
            stop(self._process)


@contextmanager
def private_daemon(*options: str, suite: str = "", containerd_store: bool = False) -> Iterator[Daemon]:
    """Run an engine with everything of its own, and further options of ``dockerd``.

    ``suite`` is the Debian release that it is of, empty for that of this host. With ``containerd_store`` it keeps images in
    containerd's store (Docker 24 and later).
    """
    ensure("iptables", "iptables")
    configuration = {"features": {"containerd-snapshotter": True}} if containerd_store else {}
    with private_place(suite) as place, private_bridge() as bridge:
        daemon = Daemon(place, bridge.name, configuration, options)
        try:
            daemon.start()
            yield daemon
        finally:
            daemon.stop()


@contextmanager
def private_engine(*options: str, suite: str = "", containerd_store: bool = False) -> Iterator[str]:
    """The same; gives its address for ``DOCKER_HOST``."""
    with private_daemon(*options, suite=suite, containerd_store=containerd_store) as daemon:
        yield daemon.address


def _wait_until_up(process: subprocess.Popen[bytes], root: Path) -> None:
    import docker

    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SetupError(f"dockerd ended at once:\n{(root / 'log').read_text()[-3000:]}")
        with contextlib.suppress(docker.errors.DockerException, OSError):
            if docker.APIClient(base_url=f"unix://{root}/docker.sock", version="auto", timeout=5).ping():
                return
        time.sleep(0.2)
    raise SetupError(f"dockerd did not come up in {START_TIMEOUT} s:\n{(root / 'log').read_text()[-3000:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Let the engine end its containers; by force after a while."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Bridge:
    """A network bridge, and the network that it alone has on this host."""

    name: str
    network: ipaddress.IPv4Network


@contextmanager
def private_bridge() -> Iterator[Bridge]:
    """Make a network bridge for the length of the block."""
    ip = ensure("ip", "iproute2")
    with machine_lock():  # else two may choose the same network
        bridge = Bridge(f"fps{secrets.token_hex(4)}", _free_network(ip))
        for command in (
            ["link", "add", bridge.name, "type", "bridge"],
            ["addr", "add", f"{bridge.network[1]}/24", "dev", bridge.name],
            ["link", "set", bridge.name, "up"],
        ):
            result = subprocess.run([ip, *command], capture_output=True, text=True, check=False)
            if result.returncode:
                raise SetupError(f"a private engine needs a network bridge, and `ip {' '.join(command)}` failed: {result.stderr}")
    try:
        yield bridge
    finally:
        subprocess.run([ip, "link", "delete", bridge.name], capture_output=True, check=False)


def _free_network(ip: str) -> ipaddress.IPv4Network:
    """A network that no interface of this host has."""
    listing = subprocess.run([ip, "-o", "-4", "addr"], capture_output=True, text=True, check=True).stdout
    taken = [ipaddress.ip_interface(line.split()[3]).network for line in listing.splitlines()]
    candidates = list(ipaddress.IPv4Network("10.213.0.0/16").subnets(new_prefix=24))
    secrets.SystemRandom().shuffle(candidates)
    return next(one for one in candidates if not any(one.overlaps(other) for other in taken))


def unmount_below(root: Path) -> None:
    """Undo what a killed engine leaves mounted."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((mount for mount in mounts if mount.startswith(f"{root}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)


@contextmanager
def _no_services() -> Iterator[None]:
    """Keep Debian's packages from starting what they install (invoke-rc.d(8), policy-rc.d)."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()
