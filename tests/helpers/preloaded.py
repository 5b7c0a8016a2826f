"""Runs the program in forks of a process that has loaded it: to load it takes most of the time of a short command.

Each run is a process with its own environment, directory, output and exit code, as if ``python -m bundler`` had been started.
Run as a program, this module is the server that forks; each worker of the tests starts one.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Expired
from pathlib import Path
from typing import Any

import bundler

_LARGEST_REQUEST = 1 << 20
_LIBRARIES = ("docker", "grpc", "jsonschema", "requests", "rich.console", "rich.progress", "rich.table", "rich.traceback", "typer")
"""What the program loads late, when a command needs it."""


def run(arguments: Sequence[str], environment: Mapping[str, str], directory: Path, timeout: float) -> tuple[int, str, str]:
    """Run a command to its end; gives its exit code as ``subprocess`` does, and what it wrote to stdout and to stderr."""
    request = {"arguments": list(arguments), "environment": dict(environment), "directory": str(directory)}
    pipes = [os.pipe() for _ in range(3)]
    try:
        socket.send_fds(_server(), [json.dumps(request).encode()], [writing for _, writing in pipes])
    finally:
        for _, writing in pipes:
            os.close(writing)
    out, err, status = (os.fdopen(reading) for reading, _ in pipes)
    with out, err, status, ThreadPoolExecutor(3) as pool:
        read = [pool.submit(file.read) for file in (out, err)]
        pid = int(status.readline())
        try:
            code = int(pool.submit(status.readline).result(timeout))
        except Expired:
            os.kill(pid, signal.SIGKILL)
            raise
        return code, read[0].result(), read[1].result()


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


def _serve(requests: socket.socket) -> list[str] | None:
    """Fork for each request; gives the arguments of the command in the process that is to run it, None at the end of the server."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # of those that wait for commands, which say how these ended themselves
    while True:
        data, files, _, _ = socket.recv_fds(requests, _LARGEST_REQUEST, 3)
        if not data:
            return None
        if not os.fork():
            requests.close()
            return _begin(json.loads(data), *files)
        for file in files:
            os.close(file)


def _begin(request: dict[str, Any], out: int, err: int, status: int) -> list[str]:
    """Become the process that runs the command, below one that waits for its end and writes its exit code to ``status``."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if pid := os.fork():
        os.close(out)
        os.close(err)
        os.write(status, b"%d\n" % pid)
        os.write(status, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os._exit(0)
    os.close(status)
    for source, target in ((out, 1), (err, 2)):
        os.dup2(source, target)
        os.close(source)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])
    return list(request["arguments"])


if __name__ == "__main__":
    _load()
    if (command := _serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        sys.argv = [str(Path(bundler.__path__[0]) / "__main__.py"), *command]
        from bundler.__main__ import main

        main()
