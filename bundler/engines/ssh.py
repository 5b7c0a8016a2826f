"""Engines behind ssh: the system's client carries sockets of the other host to sockets here (ssh(1), ``-L``)."""

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
"""Seconds that ssh may take to reach the other host and to be let in."""

_OPTIONS = {
    "BatchMode": "yes",  # never ask: nobody may be there to answer
    "ControlMaster": "no",  # a connection that others share ends with them: the watchdog's with the process that it watches
    "ControlPath": "none",
    "ConnectTimeout": "10",
    "ExitOnForwardFailure": "yes",
    "ServerAliveInterval": "15",
    "StreamLocalBindMask": "0177",
}
_PREFIX = "fps-ssh-"
_MOST_SAID = 1 << 20  # bytes; ssh ends when it, or the other host's banner, says more
_LONGEST = 500
_FORGOTTEN = 3600  # seconds after which a directory that nobody holds is no new one
_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None)


class Forward:
    """A socket here that leads to one of another host, until `close`.

    ``url`` is ``ssh://[USER@]HOST[:PORT][/…]``; ``target`` a path of a socket there, or ``HOST:PORT`` as seen from there.
    Raises `EngineError` when ssh cannot get there.
    """

    def __init__(self, url: str, target: str) -> None:
        _sweep()
        self._directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self.path = self._directory / "socket"
        self._said = self._directory / "said"
        try:
            self._process = _start(url, f"{self.path}:{target}", self._said)
        except BaseException:
            shutil.rmtree(self._directory)
            raise
        self.close = weakref.finalize(self, _end, self._process, self._directory)
        deadline = time.monotonic() + TIMEOUT
        while not self.path.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self.complaint() or f"it did not get there in {TIMEOUT} s"
                self.close()
                raise EngineError(
                    f"ssh cannot reach {url}: {said}",
                    hint="Try it by hand; it must work without a question: ssh -o BatchMode=yes …",
                )
            time.sleep(0.02)

    def complaint(self) -> str:
        """What ssh, or the other host through it, said last."""
        lines = self._said.read_text(errors="replace").split("\n")
        return next((line.strip()[:_LONGEST] for line in reversed(lines) if line.strip()), "")


def _start(url: str, forward: str, said: Path) -> subprocess.Popen[bytes]:
    address = urlsplit(url)
    command = ["ssh", "-N", "-T", "-L", forward]
    for key, value in _OPTIONS.items():
        command += ["-o", f"{key}={value}"]
    if address.username:
        command += ["-l", address.username]
    if address.port:
        command += ["-p", str(address.port)]
    try:
        with said.open("wb") as log:
            locks.acquire(log.fileno(), f"the connection to {url}")  # held by ssh, which inherits it, as long as it runs
            # In a session of its own, because a Ctrl-C of ours must not cut the way by which we clean up.
            return subprocess.Popen(
                [*command, "--", address.hostname or ""],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
    except FileNotFoundError as error:
        raise EngineError(f"{url} takes the program ssh, which is not here", hint="Install an ssh client.") from error


def _sweep() -> None:
    """Remove what was left by processes that were killed."""
    for said in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/said"):
        with contextlib.suppress(OSError), said.open("rb") as file:
            if locks.attempt(file.fileno()) and time.time() - said.stat().st_mtime > _FORGOTTEN:
                shutil.rmtree(said.parent)


def _end_with_parent() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the watchdog ignores it, and children inherit that
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_SAID, _MOST_SAID))
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(process: subprocess.Popen[bytes], directory: Path) -> None:
    process.terminate()
    process.wait()
    shutil.rmtree(directory, ignore_errors=True)
