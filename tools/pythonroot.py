"""A root file system with Python and packages, assembled from the Python that runs this: no image is pulled, no network is used."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from importlib.metadata import distribution
from pathlib import Path

PYTHON = f"{sys.base_prefix}/bin/python3"
"""The interpreter's path in the root file system."""
_LEFT_OUT = re.compile(
    r"/(test|tests|idlelib|tkinter|turtledemo|ensurepip|lib2to3|pydoc_data|site-packages|__pycache__|config-[^/]*)(/|$)"
    r"|/(_tkinter|_test[^/]*|xxlimited[^/]*)\.[^/]*\.so"
)


def assemble(root: Path, packages: Iterable[str], programs: Iterable[Path] = ()) -> Path:
    """Put Python, these packages without their dependencies, and programs into ``root``; returns its directory of packages."""
    library = Path(sysconfig.get_path("stdlib"))
    _copy_tree(library, root)
    _copy_tree(Path(sysconfig.get_path("platstdlib")) / "lib-dynload", root)
    executable = inside(root, Path(PYTHON))
    executable.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(Path(sys.executable).resolve(), executable)
    for package in packages:
        _copy_package(package, root, library / "site-packages")
    for program in programs:
        copy_file(program, root)
    for file in list(_binaries(root)):
        for library_file in _linked(file):
            copy_file(library_file, root)
    _strip(root)
    for directory in ("tmp", "opt", "proc", "sys", "dev", "etc"):
        (root / directory).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/false\n")
    return inside(root, library / "site-packages")


def compile_modules(root: Path, directories: Iterable[Path], imports: str) -> None:
    """Write the bytecode of all modules that ``import IMPORTS`` loads: without it every start compiles them again.

    The modules are found in ``directories`` and in Python's library. The bytecode is valid whatever the times of the sources
    are, because `pack` sets these to 0.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": ":".join(map(str, directories)),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    loaded = f"import sys, {imports}; print(*(getattr(m, '__file__', None) for m in sys.modules.values()), sep='\\n')"
    python = [sys.executable, "-S", "-P", "-c", loaded]  # nothing of this environment, only what the image has
    listing = subprocess.run(python, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout
    found = (Path(line) for line in sorted(listing.splitlines()) if line.endswith(".py"))
    sources = [path if path.is_relative_to(root) else inside(root, path) for path in found]
    options = ["-q", "--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", "/", "-i", "-"]
    present = "\n".join(str(path) for path in sources if path.is_file())
    subprocess.run([sys.executable, "-m", "compileall", *options], input=present, text=True, check=True, env=environment)


def pack(root: Path, archive: Path, writable: str = "", owner: int = 0) -> None:
    """Write a tar with the same bytes each time, for the same Python, packages and binutils.

    All belongs to root, but the directory ``writable`` and what is below it belongs to the user ``owner``.
    """

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
        if writable and f"{member.name}/".startswith(f"{writable}/"):
            member.uid = member.gid = owner
        return member

    with tarfile.open(archive, "w") as tar:
        for path in sorted(root.iterdir()):
            tar.add(path, path.name, filter=plain)


def inside(root: Path, path: Path) -> Path:
    """Return where an absolute path lies in the root file system."""
    return root / path.relative_to("/")


def copy_file(source: Path, root: Path) -> None:
    """Copy a file to the same path in the root file system."""
    target = inside(root, source)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _copy_tree(source: Path, root: Path) -> None:
    for directory, names, files in os.walk(source):
        names[:] = [name for name in names if not _LEFT_OUT.search(f"/{name}/")]
        for file in files:
            if not _LEFT_OUT.search(f"/{file}"):
                copy_file(Path(directory) / file, root)


def _copy_package(name: str, root: Path, site: Path) -> None:
    for file in distribution(name).files or ():
        source = Path(str(file.locate()))
        if source.is_file() and ".." not in file.parts and not _LEFT_OUT.search(f"/{file}"):
            target = inside(root, site / file)
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
