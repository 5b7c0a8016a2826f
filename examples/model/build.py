"""Builds the image of the example model without pulling anything.

The root file system is put together from the Python that runs this script, the packages that the
model needs, and the shared libraries that those link to; the engine imports it as an image.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROTO = HERE.parent.parent / "proto"
PACKAGES = ("grpcio", "protobuf", "typing-extensions")
_LEFT_OUT = re.compile(
    r"/(test|tests|idlelib|tkinter|turtledemo|ensurepip|lib2to3|pydoc_data|site-packages|__pycache__|config-[^/]*)(/|$)"
    r"|/(_tkinter|_test[^/]*|xxlimited[^/]*)\.[^/]*\.so"
)
_LIST_MODULES = "import random, runpy, sys, server; print(*(getattr(m, '__file__', None) for m in sys.modules.values()), sep='\\n')"


def build(host: str | None, version: str, name: str) -> None:
    """Make the image ``name`` of one version on the engine at ``host``."""
    import docker

    client = docker.APIClient(base_url=host, version="auto", timeout=600) if host else docker.from_env(timeout=600).api
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        _assemble(root)
        archive = root.parent / f"{root.name}.tar"
        try:
            _pack(root, archive)
            changes = [
                f"ENV MODEL_VERSION={version}",
                f"ENV PYTHONHOME={sys.base_prefix}",
                "ENV PYTHONDONTWRITEBYTECODE=1",
                "EXPOSE 50051/tcp",
                "EXPOSE 8080/tcp",
                'LABEL org.opencontainers.image.title="Example Model"',
                f"LABEL org.opencontainers.image.version={version}",
                'LABEL org.opencontainers.image.vendor="FPS examples"',
                "LABEL t1.fps.model.migrator.port=50051",
                "LABEL com.example.site=demo",
                f'CMD ["{sys.base_prefix}/bin/python3", "/app/server.py"]',
            ]
            repository, _, tag = name.rpartition(":")
            with archive.open("rb") as stream:
                answer = client.import_image_from_data(stream, repository=repository, tag=tag, changes=changes)
            # Podman does not take the tag of an import.
            client.tag(json.loads(answer.strip().splitlines()[-1])["status"], repository, tag)
        finally:
            archive.unlink(missing_ok=True)


def _assemble(root: Path) -> None:
    prefix = Path(sys.base_prefix)
    library = Path(sysconfig.get_path("stdlib"))
    _copy_tree(library, root)
    _copy_tree(Path(sysconfig.get_path("platstdlib")) / "lib-dynload", root)
    executable = _inside(root, prefix / "bin" / "python3")
    executable.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(Path(sys.executable).resolve(), executable)
    for package in PACKAGES:
        _copy_package(package, root, library / "site-packages")
    app = root / "app"
    app.mkdir()
    for source in HERE.glob("*.py"):
        if source.name != "build.py":
            shutil.copy2(source, app)
    compiler = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"--python_out={app}", f"--grpc_python_out={app}"]
    subprocess.run([*compiler, "fps/model/migrator.proto"], check=True, cwd=PROTO)
    _compile(root, app, library / "site-packages")
    for file in list(_binaries(root)):
        for library_file in _linked(file):
            _copy_file(library_file, root)
    _strip(root)
    for directory in ("tmp", "opt", "proc", "sys", "dev", "etc"):
        (root / directory).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/false\n")


def _compile(root: Path, app: Path, site: Path) -> None:
    """Write the bytecode of the modules that the model loads: without it every start compiles them again.

    The bytecode is valid whatever the times of the sources are, because `_pack` sets these to 0.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": f"{app}:{_inside(root, site)}",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    python = [sys.executable, "-c", _LIST_MODULES]
    listing = subprocess.run(python, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout
    found = (Path(line) for line in sorted(listing.splitlines()) if line.endswith(".py"))
    sources = [path if path.is_relative_to(root) else _inside(root, path) for path in found]
    options = ["-q", "--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", "/", "-i", "-"]
    present = "\n".join(str(path) for path in sources if path.is_file())
    subprocess.run([sys.executable, "-m", "compileall", *options], input=present, text=True, check=True, env=environment)


def _pack(root: Path, archive: Path) -> None:
    """The same bytes each time, so that the image of a version is the same on hosts with the same Python and binutils."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
        return member

    with tarfile.open(archive, "w") as tar:
        for path in sorted(root.iterdir()):
            tar.add(path, path.name, filter=plain)


def _copy_tree(source: Path, root: Path) -> None:
    for directory, names, files in os.walk(source):
        names[:] = [name for name in names if not _LEFT_OUT.search(f"/{name}/")]
        for file in files:
            if not _LEFT_OUT.search(f"/{file}"):
                _copy_file(Path(directory) / file, root)


def _copy_package(name: str, root: Path, site: Path) -> None:
    for file in distribution(name).files or ():
        source = Path(str(file.locate()))
        if source.is_file() and ".." not in file.parts and not _LEFT_OUT.search(f"/{file}"):
            target = _inside(root, site / file)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def _binaries(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        if path.is_file() and (path.suffix == ".so" or ".so." in path.name or path.parent.name == "bin"):
            yield path


def _strip(root: Path) -> None:
    """Take the symbols out of the binaries where binutils is there: a third of the image."""
    if strip := shutil.which("strip"):
        subprocess.run([strip, "--strip-unneeded", *_binaries(root)], check=True)


def _linked(binary: Path) -> Iterator[Path]:
    """The shared libraries that a binary needs, as the dynamic linker finds them."""
    listing = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False).stdout
    for match in re.finditer(r"(?:=> )?(/\S+) \(0x", listing):
        yield Path(match.group(1))


def _copy_file(source: Path, root: Path) -> None:
    target = _inside(root, source)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _inside(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", help="the engine's address; default: as docker finds it")
    parser.add_argument("--version", default="1.0", choices=("1.0", "2.0"))
    parser.add_argument("--name", default="example-model:1.0", metavar="NAME:TAG")
    arguments = parser.parse_args()
    build(arguments.host, arguments.version, arguments.name)
