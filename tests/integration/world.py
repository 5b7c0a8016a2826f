"""Hosts for the integration tests: a real engine each, with our program run on them as a user would."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import preloaded
from privateengine import private_engine

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODEL = "example-model:1.0"
BASE_TAG = re.compile(r"(docker.io/library/|localhost/)?example-model:[19]\.0")  # a newer one would be a second base

NO_NETWORK = {"NetworkMode": "none"}
"""Of a container that is not connected to: engines start it in less time."""


@dataclass(frozen=True)
class Outcome:
    """What a run of the program gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Host:
    """One host: its engine, its local store, and the program on it."""

    def __init__(self, address: str, home: Path) -> None:
        self.address = address
        self.is_podman = "podman" in address
        self.home = home
        self.api = docker.APIClient(base_url=address, version="auto", timeout=300)
        in_containerd = ["driver-type", "io.containerd.snapshotter.v1"] in (self.api.info().get("DriverStatus") or [])
        self.has_config_ids = not in_containerd
        self.environment = {
            **os.environ,
            "DOCKER_HOST": address,
            "DOCKER_CONFIG": str(home / "docker"),
            "FPS_BUNDLE_STORE": str(home / "store"),
            "XDG_STATE_HOME": str(home / "state"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_CONFIG_HOME": str(home / "config"),
        }

    def start(self, *arguments: str) -> preloaded.Process:
        return preloaded.Process(arguments, environment=self.environment, directory=self.home, text=True)

    def bundle(self, *arguments: str) -> Outcome:
        return Outcome(*preloaded.run(arguments, self.environment, self.home, timeout=300))

    def must(self, *arguments: str) -> Outcome:
        outcome = self.bundle(*arguments)
        assert outcome.code == 0, outcome.err + outcome.out
        return outcome

    def take_model(self, directory: Path, version: str = "1.0") -> None:
        """Get the example model, which is built once for all hosts that share a directory."""
        saved = directory / f"model-{version}.tar"
        with (directory / "model.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not saved.exists():
                save_model(saved, f"example-model:{version}", version)
        with saved.open("rb") as file:
            self.load_image(file)

    def take_image(self, other: Host, name: str) -> None:
        """Get an image from another host, as ``docker save`` and ``docker load`` would."""
        self.load_image(other.api.get_image(name))

    def load_image(self, saved: Any) -> None:
        """Load what ``docker save`` wrote."""
        for line in self.api.load_image(saved):
            assert "error" not in line, line

    def run(self, image: str, name: str, **options: Any) -> str:
        """Start a container; gives its ID."""
        container: str = self.api.create_container(image, name=name, **options)["Id"]
        self.api.start(container)
        return container

    def push_model(self, name: str) -> str:
        """Push the example model to a registry under this name, which the engine then forgets; returns the name."""
        repository, _, tag = name.rpartition(":")
        self.api.tag(MODEL, repository, tag)
        for line in self.api.push(repository, tag, stream=True, decode=True):
            assert "error" not in line, line
        self.api.remove_image(name)
        return name

    def run_script(
        self,
        name: str,
        paths: Sequence[str],
        setup: str = "",
        mood: str = "",
        image: str = MODEL,
        patience: float = 30,
        **options: Any,
    ) -> str:
        """Start a model that exports ``paths``, after Python code in ``setup`` has made its state."""
        files = {"paths": json.dumps(list(paths)), "mood": mood}
        return self.run_model(name, setup, files, image, patience, **options)

    def run_model(self, name: str, setup: str, files: Mapping[str, str], image: str, patience: float = 30, **options: Any) -> str:
        """Start a scripted model with ``files`` in its ``/script``, and wait until it serves; gives its ID."""
        code = f"{setup}\nexec(open('/script/scripted_model.py').read())"
        container = self.run_python(name, code, {"mood": "", **files, **program("scripted_model")}, image, **options)
        address = self.address_of(container)
        wait_until(lambda: serves(address), patience)
        return container

    def run_python(self, name: str, code: str, files: Mapping[str, str], image: str, **options: Any) -> str:
        """Start a container that runs Python code, with ``files`` in its ``/script``; gives its ID."""
        python = self.api.inspect_image(image)["Config"]["Cmd"][0]
        container: str = self.api.create_container(
            image,
            [python, "-c", code],
            name=name,
            environment={"PYTHONPATH": "/app"},
            stop_signal="SIGKILL",  # Python as the first process heeds no other
            **options,
        )["Id"]
        self.put(container, {f"script/{key}": value for key, value in files.items()})
        self.api.start(container)
        return container

    def put(self, container: str, files: Mapping[str, str]) -> None:
        """Write files of a container, by their paths below its root."""
        self.api.put_archive(container, "/", _archive(dict(files)))

    def script_image(self, name: str, requests: Sequence[Sequence[str]], mood: str = "", setup: str = "", **config: Any) -> None:
        """Make the image of a newer model, whose Ingest asks for ``requests``; ``setup`` has been run in it."""
        command = [self._python(MODEL), "-c", setup]
        container = self.api.create_container(MODEL, command, stop_signal="SIGKILL", host_config=NO_NETWORK)["Id"]
        files = {
            **program("scripted_model"),
            "requests": json.dumps(requests),
            "paths": '["/script"]',
            "mood": mood,
        }
        self.put(container, {f"script/{key}": value for key, value in files.items()})
        self.api.start(container)
        assert self.api.wait(container)["StatusCode"] == 0, self.api.logs(container)
        changes = [f'CMD ["{self._python(MODEL)}", "/script/scripted_model.py"]', "ENV PYTHONPATH=/app"]
        changes += [f"VOLUME {volume}" for volume in config.get("volumes", ())]
        repository, _, tag = name.rpartition(":")
        self.api.commit(container, repository, tag, changes=changes)
        self.api.remove_container(container)

    def _python(self, image: str) -> str:
        return str(self.api.inspect_image(image)["Config"]["Cmd"][0])

    def read(self, container: str, path: str) -> bytes:
        """The content of one file of a container."""
        with tarfile.open(fileobj=io.BytesIO(b"".join(self.api.get_archive(container, path)[0]))) as archive:
            file = archive.extractfile(archive.getmembers()[0])
            assert file
            return file.read()

    def address_of(self, container: str) -> str:
        networks = self.api.inspect_container(container)["NetworkSettings"]["Networks"]
        return str(next(iter(networks.values()))["IPAddress"])

    def ask(self, container: str, what: str, **content: str) -> Any:
        """Ask the example model over HTTP, as soon as it answers."""
        request = urllib.request.Request(f"http://{self.address_of(container)}:8080/{what}", json.dumps(content).encode())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + 30
        while True:
            try:
                with opener.open(request, timeout=10) as response:
                    return json.load(response)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def trees(self, container: str, *paths: str) -> list[dict[str, tuple[Any, ...]]]:
        """Of each path every entry at and below it, by name, with all that a bundle must keep of it."""
        # What Podman gives of a path has wrong owners and times; what it gives of a container has not.
        if self.is_podman:
            exported = b"".join(self.api.export(container))
            return [self._entries(exported, path) for path in paths]
        return [self._entries(b"".join(self.api.get_archive(container, path)[0]), path) for path in paths]

    def tree(self, container: str, path: str) -> dict[str, tuple[Any, ...]]:
        """The same of one path."""
        return self.trees(container, path)[0]

    def _entries(self, data: bytes, path: str) -> dict[str, tuple[Any, ...]]:
        """What an archive has at and below a path: of Podman it is one of the whole container."""
        above = path.rpartition("/")[0].lstrip("/")
        found = {}
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                if self.is_podman:
                    if not f"/{member.name}/".startswith(f"{path}/"):
                        continue
                    member.name = member.name.removeprefix(above).lstrip("/")
                    if member.islnk():
                        member.linkname = member.linkname.removeprefix(above).lstrip("/")
                content = archive.extractfile(member).read() if member.isreg() else b""  # type: ignore[union-attr]
                digest = hashlib.sha256(content).hexdigest()
                capability = member.pax_headers.get("SCHILY.xattr.security.capability")
                found[member.name] = (
                    member.type,
                    oct(member.mode),
                    member.uid,
                    member.gid,
                    member.size,
                    int(member.mtime),
                    member.linkname,
                    digest,
                    capability,
                )
        return found

    def has(self, container: str, path: str) -> bool:
        """Whether something stands at a path of a container."""
        try:
            return bool(self.tree(container, path))  # of Podman the tree is cut out of the whole container, and empty
        except docker.errors.NotFound:
            return False

    def output(self, image: str, code: str) -> str:
        """What Python code prints in a new container of an image."""
        python = self.api.inspect_image(image)["Config"]["Cmd"][0]
        container = self.api.create_container(image, [python, "-c", code], host_config=NO_NETWORK)["Id"]
        self.api.start(container)
        status = self.api.wait(container)["StatusCode"]
        printed: str = self.api.logs(container).decode()
        self.api.remove_container(container)
        assert status == 0, printed
        return printed

    def layers(self, image: str) -> list[str]:
        return list(self.api.inspect_image(image)["RootFS"]["Layers"])

    def images(self) -> set[str]:
        return {image["Id"] for image in self.api.images()}

    def execute(self, container: str, code: str) -> str:
        """Run Python code in a container; gives what it prints."""
        python = self.api.inspect_container(container)["Config"]["Cmd"][0]
        execution = self.api.exec_create(container, [python, "-c", code])["Id"]
        output: str = self.api.exec_start(execution).decode()
        assert self.api.exec_inspect(execution)["ExitCode"] == 0, output
        return output

    def paused(self, container: str) -> bool:
        return bool(self.api.inspect_container(container)["State"]["Paused"])

    def clean(self) -> None:
        """Remove all containers, every image but the base, the local store, the policy, and what was applied."""
        for below in ("store", "config"):
            shutil.rmtree(self.home / below, ignore_errors=True)
        (self.home / "state" / "fps-bundle" / "applied.json").unlink(missing_ok=True)
        for container in self.api.containers(all=True):
            with contextlib.suppress(docker.errors.APIError):
                self.api.unpause(container["Id"])
            self.api.remove_container(container["Id"], force=True, v=True)
        for image in self.api.images():
            if not any(BASE_TAG.fullmatch(tag) for tag in image["RepoTags"] or ()):
                self.api.remove_image(image["Id"], force=True)

    def leftovers(self) -> list[str]:
        """Half files below the home of this host."""
        return [str(path) for path in self.home.rglob(".fps-bundle-part-*")]


def save_model(path: Path, name: str, version: str) -> None:
    """Build the example model on an engine for it alone, and write it as ``docker save`` does."""
    build, part = ROOT / "examples" / "model" / "build.py", path.with_suffix(".part")
    with private_engine() as address, part.open("wb") as file:
        subprocess.run([sys.executable, str(build), "--host", address, "--version", version, "--name", name], check=True)
        file.writelines(docker.APIClient(base_url=address, version="auto", timeout=300).get_image(name))
    part.rename(path)


def serves(address: str) -> bool:
    """Whether a Migrator takes connections at an address."""
    with contextlib.suppress(OSError), socket.create_connection((address, 50051), 1):
        return True
    return False


def short(name: str) -> str:
    """An image's name as Docker writes it; Podman writes its registry, too."""
    return name.removeprefix("docker.io/library/").removeprefix("localhost/")


def program(name: str) -> dict[str, str]:
    """A program that runs in a container, as a file of its ``/script``."""
    return {f"{name}.py": (HERE / f"{name}.py").read_text()}


def _archive(files: dict[str, str]) -> bytes:
    """A tar without padding: Podman 4.3 fails when there is more to read behind the end that its reader has found."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
        end = archive.offset + 2 * tarfile.BLOCKSIZE
    return buffer.getvalue()[:end]


def within(seconds: float) -> float:
    """A limit that is a claim about time counts in the soak alone; elsewhere a loaded machine may take longer."""
    return seconds if os.environ.get("FPS_BUNDLE_TIMES") == "strict" else 120


def wait_until(condition: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
