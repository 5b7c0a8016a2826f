"""Runs in a container: changes states as ``/script/changes`` says, and names exports of them in ``/script/paths``.

State number N lies in ``/srv/state/N``, and what the base image has for it to take away in ``/srv/base/N``.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import stat
from pathlib import Path
from typing import Any

SRV = Path("/srv")
LINKS = SRV / "links"
LONGEST = 3500
"""Bytes of a path that leave an engine room for its own directories before it (PATH_MAX is 4096)."""

times: dict[Path, int] = {}


def found(roots: list[Path]) -> list[str]:
    """Everything that there is of a state, always in the same order."""
    there = [root for root in roots if os.path.lexists(root)]
    walks = [os.walk(root) for root in there if is_directory(root)]
    below = [f"{top}/{name}" for walk in walks for top, directories, files in walk for name in directories + files]
    return sorted([str(root) for root in there] + below)


def is_directory(path: Path) -> bool:
    return stat.S_ISDIR(path.lstat().st_mode)


def length(path: Path | str) -> int:
    return len(os.fsencode(path))


def happen(operation: dict[str, Any], roots: list[Path]) -> None:
    there = found(roots)
    linkable = [path for path in there if not is_directory(Path(path))] if operation["kind"] == "hardlink" else []
    one, other = (Path(among[operation[pick] % len(among)]) for pick, among in (("which", there), ("other", linkable or there)))
    name = os.fsdecode(bytes.fromhex(operation["name"]))
    new = (one if is_directory(one) else one.parent) / name
    if length(new) > LONGEST:
        return
    match operation["do"]:
        case "make" if not os.path.lexists(new):
            make(new, other, operation)
        case "replace":
            remove(one)
            make(one, other, operation)
        case "change":
            if stat.S_ISREG(one.lstat().st_mode):
                write(one, operation["size"], "r+b")
            dress(one, operation)
        case "rename":
            longest = max(map(length, found([other]))) - length(other)
            if other not in roots and length(new) + longest <= LONGEST:
                other.rename(new)
        case "remove":
            remove(one)


def remove(path: Path) -> None:
    shutil.rmtree(path) if is_directory(path) else path.unlink()


def make(path: Path, other: Path, operation: dict[str, Any]) -> None:
    """Make an entry of the wanted kind; for a hard link ``other`` is what it is linked to."""
    match operation["kind"]:
        case "file":
            write(path, operation["size"], "xb")
        case "two-names":
            write(path, operation["size"], "xb")
            os.link(path, f"{path}-too")
        case "directory" | "deep" | "wide":
            make_directory(path, operation)
        case "symlink":
            path.symlink_to(os.fsdecode(bytes.fromhex(operation["target"])))
        case "hardlink":
            os.link(other, path, follow_symlinks=False)
        case "fifo":
            os.mkfifo(path)
        case "socket":
            os.chdir(path.parent)  # a socket's whole address has 107 bytes at most
            socket.socket(socket.AF_UNIX).bind(path.name)
        case "device":
            os.mknod(path, stat.S_IFCHR, os.makedev(1, 3))
    dress(path, operation)


def make_directory(path: Path, operation: dict[str, Any]) -> None:
    path.mkdir()
    if operation["kind"] == "deep":
        room = (LONGEST - length(path)) // (length(path.name) + 1)
        path.joinpath(*[path.name] * min(room, 10 + operation["other"] % 40)).mkdir(parents=True, exist_ok=True)
    if operation["kind"] == "wide":
        for number in range(operation["size"] % 100):
            (path / f"{number}").touch()


def write(path: Path, size: int, mode: str) -> None:
    """Write random content over what there is, without making it shorter."""
    block = random.Random(size).randbytes(min(size, 1 << 20))
    with path.open(mode) as file:
        for start in range(0, size, 1 << 20):
            file.write(block[: size - start])


def dress(path: Path, operation: dict[str, Any]) -> None:
    os.chown(path, operation["uid"], operation["gid"], follow_symlinks=False)
    if not path.is_symlink():
        path.chmod(operation["mode"])
    if stat.S_ISREG(path.lstat().st_mode) and operation["capability"]:
        os.setxattr(path, "security.capability", bytes.fromhex(operation["capability"]))
    times[path] = operation["mtime"]


def is_text(path: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in path)


def can_be_asked_for(path: Path) -> bool:
    """Whether the engines' APIs see a path: not when it is a link into a loop, or through a file."""
    try:
        path.stat()
    except FileNotFoundError:
        return path.is_symlink()
    except OSError:
        return False
    return True


def exports(wanted: list[dict[str, Any]], roots: list[Path]) -> list[str]:
    """The wanted exports as paths, as far as there are such and gRPC can carry them."""
    there = [path for path in found(roots) if is_text(path)]
    named: list[str] = []
    for export in wanted if there else ():
        path = Path(there[export["which"] % len(there)])
        match export["what"]:
            case "state" | "base":
                path = roots[export["what"] == "base"]
            case "behind a link":
                link = LINKS / f"{len(list(LINKS.iterdir()))}"
                link.symlink_to(path.parent if export["slash"] else os.path.relpath(path.parent, LINKS))
                path = link / path.name
        if can_be_asked_for(path):
            named += [f"{path}/" if export["slash"] else f"{path}"] * export["times"]
    return named


def main() -> None:
    LINKS.mkdir(parents=True, exist_ok=True)
    named = []
    for number, changes in enumerate(json.loads(Path("/script/changes").read_text())):
        roots = [SRV / "state" / str(number), SRV / "base" / str(number)]
        for operation in changes["operations"]:
            for root in roots:
                if not os.path.lexists(root):
                    root.mkdir(parents=True)
            with contextlib.suppress(OSError):  # what this kernel, this engine or the state as it is does not allow
                happen(operation, roots)
        named += exports(changes["exports"], roots)
    for path, mtime in times.items():
        with contextlib.suppress(OSError):  # gone again
            os.utime(path, ns=(mtime, mtime), follow_symlinks=False)
    Path("/script/paths").write_text(json.dumps(named))


main()
