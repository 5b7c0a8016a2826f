"""A containerd of our own, without Docker: Debian's ``containerd``, with everything of its own in a temporary directory."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from privateengine import SetupError, ensure, private_place, stop, unmount_below

START_TIMEOUT = 60
_UNUSED = ("grpc.v1.cri", "snapshotter.v1.aufs", "snapshotter.v1.btrfs", "snapshotter.v1.devmapper", "snapshotter.v1.zfs")


@dataclass(frozen=True)
class Containerd:
    """A running containerd, and where its socket is."""

    socket: Path

    def ctr(self, *arguments: str, timeout: float = 300) -> str:
        """Run its client; gives what it prints. Raises ``CalledProcessError``."""
        command = [ensure("ctr", "containerd"), "--address", str(self.socket), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode:
            raise RuntimeError(f"ctr {' '.join(arguments)}: {done.stderr}{done.stdout}")
        return done.stdout

    def pull(self, reference: str) -> None:
        """Pull an image from a registry without TLS."""
        self.ctr("images", "pull", "--plain-http", reference)

    def run(self, reference: str, name: str, *command: str) -> str:
        """Run a command in a new container of an image, which is removed then; gives what it prints."""
        return self.ctr("run", "--rm", reference, name, *command)

    def end_containers(self) -> None:
        """End what still runs; containerd itself would leave it running."""
        for name in self.ctr("task", "list", "--quiet").split():
            with contextlib.suppress(RuntimeError):  # it has ended meanwhile
                self.ctr("task", "delete", "--force", name)

    @contextmanager
    def mounted(self, reference: str) -> Iterator[Path]:
        """The root file system of an image, for the length of the block."""
        with tempfile.TemporaryDirectory(prefix="fps-mounted-") as directory:
            self.ctr("images", "mount", reference, directory)
            try:
                yield Path(directory)
            finally:
                self.ctr("images", "unmount", "--rm", directory)


@contextmanager
def private_containerd() -> Iterator[Containerd]:
    """Run a containerd for the length of the block."""
    program = ensure("containerd", "containerd")
    ensure("runc", "runc")
    with private_place() as place:
        root = place.outside
        disabled = ", ".join(f'"io.containerd.{name}"' for name in _UNUSED)
        (root / "config.toml").write_text(
            f'version = 2\nroot = "{root}/root"\nstate = "{root}/state"\ndisabled_plugins = [{disabled}]\n'
            f'[grpc]\naddress = "{root}/socket"\n[ttrpc]\naddress = "{root}/socket.ttrpc"\n'
        )
        with (root / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, "--config", str(root / "config.toml")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        containerd = Containerd(root / "socket")
        try:
            _wait_until_up(process, containerd, root / "log")
            yield containerd
        finally:
            with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):  # of a containerd that did not come up
                containerd.end_containers()
            stop(process)
            unmount_below(root)


def _wait_until_up(process: subprocess.Popen[bytes], containerd: Containerd, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(RuntimeError):
            containerd.ctr("version", timeout=10)
            return
        time.sleep(0.1)
    raise SetupError(f"containerd did not come up:\n{log.read_text()[-3000:]}")
