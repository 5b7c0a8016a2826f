"""An ssh server of our own, and a client that knows it: nobody's keys and configuration are read or changed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from privateengine import SetupError, ensure, stop

START_TIMEOUT = 20


@dataclass(frozen=True)
class Server:
    """``HOST:PORT`` of the server, and a directory for the beginning of ``PATH`` with a client that it lets in."""

    address: str
    client: Path
    known_hosts: Path


@contextmanager
def private_sshd() -> Iterator[Server]:
    """Run an sshd that lets in who holds a key that was made for it."""
    sshd = ensure("sshd", "openssh-server", "openssh-client")
    ssh = ensure("ssh", "openssh-client")
    root = Path(tempfile.mkdtemp(prefix="fps-sshd-"))
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd locks itself up; Debian makes it when the service starts
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(root / name)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": root / "host",
        "AuthorizedKeysFile": root / "user.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PermitRootLogin": "prohibit-password",
    }
    (root / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in options.items()))
    known = root / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {(root / 'host.pub').read_text()}")
    client = root / "bin" / "ssh"  # ssh reads the configuration of its user's home, whatever HOME says
    client.parent.mkdir()
    client.write_text(f'#!/bin/sh\nexec {ssh} -F none -i {root}/user -o UserKnownHostsFile={known} "$@"\n')
    client.chmod(0o755)
    process = None
    try:
        with (root / "log").open("wb") as log:
            process = subprocess.Popen(
                [sshd, "-D", "-e", "-f", str(root / "sshd_config")], stdin=subprocess.DEVNULL, stderr=log, start_new_session=True
            )
        _wait_until_up(process, port, root / "log")
        yield Server(f"127.0.0.1:{port}", client.parent, known)
    finally:
        if process:
            stop(process)
        shutil.rmtree(root, ignore_errors=True)


def _wait_until_up(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SetupError(f"sshd did not come up:\n{log.read_text()[-3000:]}")
