"""A Docker engine of our own: installed if need be, started apart from any other, removed without a trace."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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


class Daemon:
    """A ``dockerd`` with everything of its own below ``root``, which can be stopped and started again."""

    def __init__(self, root: Path, bridge: str, options: Sequence[str]) -> None:
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None
        self.address = f"unix://{root}/docker.sock"
        (root / "daemon.json").write_text("{}")  # not the one of an engine that is installed here
        self._command = [
            ensure("dockerd", "docker.io", "iptables"),
            f"--data-root={root}/data",
            f"--exec-root={root}/exec",
            f"--pidfile={root}/pid",
            f"--host={self.address}",
            f"--bridge={bridge}",
            "--iptables=false",
            "--ip6tables=false",
            f"--config-file={root}/daemon.json",
            *options,
        ]

    def start(self) -> None:
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PATH": _PATH},
                start_new_session=True,
            )
        _wait_until_up(self._process, self._root)

    def stop(self) -> None:
        if self._process:
            stop(self._process)


@contextmanager
def private_daemon(*options: str) -> Iterator[Daemon]:
    """Run an engine with everything of its own, and further options of ``dockerd``."""
    ensure("iptables", "iptables")
    ip = ensure("ip", "iproute2")
    root = Path(tempfile.mkdtemp(prefix="fps-engine-"))
    root.chmod(0o711)  # with --userns-remap the engine's files belong to another user
    bridge = f"fps{secrets.token_hex(4)}"
    daemon = Daemon(root, bridge, options)
    try:
        with machine_lock():  # else two may choose the same network
            _add_bridge(ip, bridge)
        daemon.start()
        yield daemon
    finally:
        daemon.stop()
        subprocess.run([ip, "link", "delete", bridge], capture_output=True, check=False)
        unmount_below(root)
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def private_engine(*options: str) -> Iterator[str]:
    """The same; gives its address for ``DOCKER_HOST``."""
    with private_daemon(*options) as daemon:
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


def _add_bridge(ip: str, name: str) -> None:
    """A bridge with a network that no other interface of this host has."""
    listing = subprocess.run([ip, "-o", "-4", "addr"], capture_output=True, text=True, check=True).stdout
    taken = [ipaddress.ip_interface(line.split()[3]).network for line in listing.splitlines()]
    candidates = list(ipaddress.ip_network("10.213.0.0/16").subnets(new_prefix=24))
    secrets.SystemRandom().shuffle(candidates)
    network = next(one for one in candidates if not any(one.overlaps(other) for other in taken))
    for command in (
        ["link", "add", name, "type", "bridge"],
        ["addr", "add", f"{network[1]}/24", "dev", name],
        ["link", "set", name, "up"],
    ):
        result = subprocess.run([ip, *command], capture_output=True, text=True, check=False)
        if result.returncode:
            raise SetupError(f"a private engine needs a network bridge, and `ip {' '.join(command)}` failed: {result.stderr}")


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
