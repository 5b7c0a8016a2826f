"""Runs the program in forks of a process that has loaded it: to load it takes most of the time of a short command.

Each run is a process with its own environment, directory, streams and exit code, as if ``python -m bundler`` had been started.
Only what the interpreter does before the program begins needs a real start: closed streams, the encoding of streams.
Run as a program, this module is the server that forks; each worker of the tests starts one.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE, CompletedProcess, TimeoutExpired
from typing import IO, Any

import bundler

_LARGEST_REQUEST = 1 << 20
_LIBRARIES = ("docker", "grpc", "jsonschema", "requests", "rich.console", "rich.progress", "rich.table", "rich.traceback", "typer")
"""What the program loads late, when a command needs it."""
_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


class Process:
    """A command that runs. It has what the tests need of ``subprocess.Popen``, by the same names."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        stdin: int | IO[Any] = DEVNULL,
        stdout: int | IO[Any] = PIPE,
        stderr: int | IO[Any] = PIPE,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        text: bool = False,
        limits: Mapping[int, int] | None = None,
    ) -> None:
        self.args = [str(argument) for argument in arguments]
        self.returncode: int | None = None
        request = {
            "arguments": self.args,
            "environment": dict(environment or os.environ),
            "directory": str(directory or Path.cwd()),
            "limits": list((limits or {}).items()),
        }
        theirs, ours = zip(*(_stream(given, number) for number, given in enumerate((stdin, stdout, stderr))), strict=True)
        status, told = os.pipe()
        try:
            socket.send_fds(_server(), [json.dumps(request).encode()], [*theirs, told])
        finally:
            for file in (*theirs, told):
                os.close(file)
        kind = "" if text else "b"
        self.stdin, self.stdout, self.stderr = (
            None if file is None else os.fdopen(file, ("r" if number else "w") + kind) for number, file in enumerate(ours)
        )
        self._status = os.fdopen(status, "rb", buffering=0)
        self.pid = int(self._status.readline())

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self.stdin, self.stdout, self.stderr):
            if file:
                with contextlib.suppress(BrokenPipeError):
                    file.close()
        self.wait()

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended(timeout)
        if code is None:
            raise TimeoutExpired(self.args, timeout or 0)
        return code

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            self.returncode = os.waitstatus_to_exitcode(int(self._status.readline()))
            self._status.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Give all of the input, read both outputs, and wait for the end."""
        deadline = None if timeout is None else time.monotonic() + timeout
        read: dict[Any, Any] = {}

        def give() -> None:
            with contextlib.suppress(BrokenPipeError):
                self.stdin.write(input)
            with contextlib.suppress(BrokenPipeError):
                self.stdin.close()

        def take(file: Any) -> None:
            read[file] = file.read()

        threads = [threading.Thread(target=take, args=(file,), daemon=True) for file in (self.stdout, self.stderr) if file]
        if input is not None:
            threads.append(threading.Thread(target=give, daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(None if deadline is None else max(0, deadline - time.monotonic()))
            if thread.is_alive():
                raise TimeoutExpired(self.args, timeout or 0)
        self.wait(None if deadline is None else max(0, deadline - time.monotonic()))
        return read.get(self.stdout), read.get(self.stderr)


def completed(*arguments: str | Path, given: bytes | None = None, timeout: float = 300, **options: Any) -> CompletedProcess[Any]:
    """Run a command to its end, with ``given`` as its input."""
    process = Process(arguments, stdin=options.pop("stdin", DEVNULL if given is None else PIPE), **options)
    try:
        out, err = process.communicate(given, timeout)
    except TimeoutExpired:
        process.kill()
        raise
    return CompletedProcess(process.args, process.wait(), out, err)


def run(arguments: Sequence[str], environment: Mapping[str, str], directory: Path, timeout: float) -> tuple[int, str, str]:
    """Run a command to its end; gives its exit code as ``subprocess`` does, and what it wrote to stdout and to stderr."""
    done = completed(*arguments, environment=environment, directory=directory, timeout=timeout, text=True)
    return done.returncode, done.stdout, done.stderr


def _stream(given: int | IO[Any], number: int) -> tuple[int, int | None]:
    """A descriptor for the command, and the other end when it is a pipe."""
    if not isinstance(given, int):
        given = given.fileno()
    if given == PIPE:
        reading, writing = os.pipe()
        return (writing, reading) if number else (reading, writing)
    return os.open(os.devnull, os.O_RDWR) if given == DEVNULL else os.dup(given), None


@functools.cache
def _server() -> socket.socket:
    """Start the server; it ends with this process, whose end closes the connection."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        subprocess.Popen([sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()])
    return ours


def _load() -> None:
    for module in pkgutil.walk_packages(bundler.__path__, "bundler."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in _LIBRARIES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a fork that collects or frees what it has inherited would copy all of it


def _serve(requests: socket.socket) -> dict[str, Any] | None:
    """Fork for each request; gives the request in the process that is to run it, None at the end of the server."""
    running: dict[int, int] = {}
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        if woken in select.select([requests, woken], [], [])[0]:
            os.read(woken, 1 << 10)
            _tell_ends(running)
            continue
        data, files, _, _ = socket.recv_fds(requests, _LARGEST_REQUEST, 4)
        if not data:
            return None
        *streams, status = files
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for file in (requests.detach(), woken, wakes, status, *running.values()):
                os.close(file)
            return {**json.loads(data), "streams": streams}
        running[pid] = status
        os.write(status, b"%d\n" % pid)
        for file in streams:
            os.close(file)


def _tell_ends(running: dict[int, int]) -> None:
    """Write the wait status of each command that has ended to the pipe of its starter."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            status = running.pop(ended[0])
            with contextlib.suppress(BrokenPipeError):  # the caller no longer reads the result
                os.write(status, b"%d\n" % ended[1])
            os.close(status)


def _begin(request: dict[str, Any]) -> None:
    """Become the process that runs the command."""
    for number, file in enumerate(request["streams"]):
        os.dup2(file, number)
        os.close(file)
    for number, (name, mode) in enumerate(_STREAMS):
        former, buffering = getattr(sys, name), 1 if number == 2 or os.isatty(number) else -1
        setattr(sys, name, open(number, mode, buffering, former.encoding, former.errors, closefd=False))  # noqa: SIM115
    for kind, most in request["limits"]:
        resource.setrlimit(kind, (most, most))
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])
    sys.argv = [str(Path(bundler.__path__[0]) / "__main__.py"), *request["arguments"]]


def _leave(code: object) -> None:
    """End this process as the interpreter does, without the end of every module, which would copy all that was loaded."""
    if threading.active_count() > 1 or not isinstance(code, int):
        sys.exit(code)  # type: ignore[arg-type]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        sys.exit(code)  # the interpreter has its own code for that
    os._exit(code)


if __name__ == "__main__":
    _load()
    if (request := _serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        _begin(request)
        from bundler.__main__ import main

        try:
            main()
        except SystemExit as end:
            _leave(end.code)
