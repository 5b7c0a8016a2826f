"""Engines behind ssh: the system's client forwards local sockets to sockets of the other host (ssh(1), ``-L``)."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import shutil
import signal
import subprocess
import tempfile
import time
import weakref
from pathlib import Path
from urllib.parse import urlsplit

from bundler.errors import EngineError
from bundler.localfs import locks

TIMEOUT = 30
"""Seconds in which ssh must connect and authenticate."""

_OPTIONS = {
    "BatchMode": "yes",  # no prompts: the command may run without a terminal
    "ControlMaster": "no",  # a shared connection would end with its owner: the watchdog's with the watched process
    "ControlPath": "none",
    "ConnectTimeout": "10",
    "ExitOnForwardFailure": "yes",
    "ServerAliveInterval": "15",
    "StreamLocalBindMask": "0177",
}
_PREFIX = "fps-ssh-"
_MAX_OUTPUT = 1 << 20  # bytes; ssh ends when it, or the other host's banner, writes more
_MAX_LINE = 500
_STALE = 3600  # seconds after which an unlocked directory is not one that was just created
_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None)


class Forward:
    """A local socket that is forwarded to one of another host, until `close`.

    ``url`` is ``ssh://[USER@]HOST[:PORT][/…]``; ``target`` a path of a socket there, or ``HOST:PORT`` as seen from there.
    Raises `EngineError` when ssh cannot connect.
    """

    def __init__(self, url: str, target: str) -> None:
        _sweep()
        self._directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self.path = self._directory / "socket"
        self._log = self._directory / "log"
        try:
            self._process = _start(url, f"{self.path}:{target}", self._log)
        except BaseException:
            shutil.rmtree(self._directory)
            raise
        self.close = weakref.finalize(self, _end, self._process, self._directory)
        deadline = time.monotonic() + TIMEOUT
        while not self.path.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                output = self.last_output() or f"no connection within {TIMEOUT} s"
                self.close()
                raise EngineError(
                    f"ssh cannot reach {url}: {output}",
                    hint="Run it by hand; it must work without a prompt: ssh -o BatchMode=yes …",
                )
            time.sleep(0.02)

    def last_output(self) -> str:
        """Return the last line that ssh, or the other host through it, wrote."""
        lines = self._log.read_text(errors="replace").split("\n")
        return next((line.strip()[:_MAX_LINE] for line in reversed(lines) if line.strip()), "")


def _start(url: str, forward: str, log_path: Path) -> subprocess.Popen[bytes]:
    address = urlsplit(url)
    command = ["ssh", "-N", "-T", "-L", forward]
    for key, value in _OPTIONS.items():
        command += ["-o", f"{key}={value}"]
    if address.username:
        command += ["-l", address.username]
    if address.port:
        command += ["-p", str(address.port)]
    try:
        with log_path.open("wb") as log:
            locks.acquire(log.fileno(), f"the connection to {url}")  # ssh inherits the lock and holds it while it runs
            # In a session of its own: a Ctrl-C must not end the connection that the cleanup needs.
            return subprocess.Popen(
                [*command, "--", address.hostname or ""],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
    except FileNotFoundError as error:
        raise EngineError(f"cannot connect to {url}: the program ssh is not installed", hint="Install an ssh client.") from error


def _sweep() -> None:
    """Remove the directories of killed processes."""
    for log in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/log"):
        with contextlib.suppress(OSError), log.open("rb") as file:
            if locks.attempt(file.fileno()) and time.time() - log.stat().st_mtime > _STALE:
                shutil.rmtree(log.parent)


def _end_with_parent() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the watchdog ignores it, and its children inherit that
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_OUTPUT, _MAX_OUTPUT))
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(process: subprocess.Popen[bytes], directory: Path) -> None:
    process.terminate()
    process.wait()
    shutil.rmtree(directory, ignore_errors=True)
