"""Where it is measured: a private engine with a model whose state is as large as wanted, and registries that come and go."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import docker

ROOT = Path(__file__).resolve().parent.parent
sys.path[1:1] = [str(ROOT / "tools"), str(ROOT / "tests" / "helpers"), str(ROOT / "tests" / "integration")]

from privateengine import ensure, private_engine  # noqa: E402
from privateregistry import private_registry  # noqa: E402
from world import MODEL, Host  # noqa: E402

CONTAINER = "model"
STATE = "/srv/state"
PROGRAMS = {"docker": "docker.io", "zstd": "zstd", "curl": "curl"}
"""What the comparisons cannot do without, and the package that brings it."""


class Place:
    """A host with a model on it, and what the commands that are measured know of it, as variables of their environment."""

    def __init__(self, host: Host, home: Path) -> None:
        self.host = host
        self.out = home / "out"
        self.store = home / "store"
        self.temporary = home / "tmp"
        self.environment = {
            **host.environment,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "TMPDIR": str(self.temporary),
            "SOCKET": host.address.removeprefix("unix://"),
            "OUT": str(self.out),
            "BASE": MODEL,
        }
        self._registry = ExitStack()
        for path in (self.out, self.temporary):
            path.mkdir()

    def fill(self, size: int) -> None:
        """Start the model, and give it a state of about so many bytes in the container's own writable layer."""
        self.host.run_script(CONTAINER, [STATE])
        maker = [sys.executable, str(ROOT / "benchmarks" / "state.py"), "--size", str(size)]
        with subprocess.Popen(maker, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}) as made:
            subprocess.run(["docker", "cp", "-", f"{CONTAINER}:/"], stdin=made.stdout, env=self.environment, check=True)
        if made.returncode:
            raise SystemExit("the state could not be made")

    def empty_store(self) -> None:
        """Take everything out of the local store."""
        shutil.rmtree(self.store, ignore_errors=True)

    def empty_out(self) -> None:
        """Take everything away that a command wrote into ``$OUT``."""
        shutil.rmtree(self.out)
        self.out.mkdir()

    def open_registry(self) -> None:
        """Start an empty registry, as ``$REGISTRY``."""
        storage = self.out.parent / "registry"
        self._registry.callback(shutil.rmtree, storage, ignore_errors=True)
        self.environment["REGISTRY"] = self._registry.enter_context(private_registry(storage=storage))
        self.environment["REGISTRY_FILES"] = str(storage)

    def close_registry(self) -> None:
        """Stop the registry, and take its files away."""
        self._registry.close()

    def remove_image(self, name: str) -> None:
        """Take an image and its layers off the engine, if it is there."""
        with contextlib.suppress(docker.errors.ImageNotFound):
            self.host.api.remove_image(name, force=True)

    def layers(self, reference: str) -> list[Path]:
        """The files of a bundle's layers in the local store."""
        told = self.bundle("inspect", reference, "--json")
        return [
            self.store / "blobs" / "sha256" / layer["digest"].removeprefix("sha256:")
            for layer in json.loads(told)["manifest"]["layers"]
        ]

    def bundle(self, *arguments: str) -> bytes:
        """What a run of the program prints, when nobody measures it."""
        return subprocess.run(["fps-bundle", *arguments], env=self.environment, check=True, stdout=subprocess.PIPE).stdout


@contextmanager
def place(directory: Path) -> Iterator[Place]:
    """A place with the base image and nothing else; all of it is gone after the block."""
    for program, package in PROGRAMS.items():
        ensure(program, package)
    home = directory / "home"
    home.mkdir()
    with private_engine() as address, contextlib.closing(Host(address, home).api):
        host = Host(address, home)
        host.build_model()
        found = Place(host, home)
        try:
            yield found
        finally:
            found.close_registry()
