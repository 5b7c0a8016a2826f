"""The directories that a container's overlay file system is made of (kernel documentation, overlayfs.rst)."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat as modes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bundler.engines.direct_reader import KINDS, DirectReader
from bundler.engines.process.layer_files import SMALL, Sample
from bundler.engines.process.mount_table import Mount
from bundler.engines.survey import WALK, open_parent
from bundler.errors import EngineError
from bundler.format import paths
from bundler.format.tar import Kind
from bundler.ports import PathInfo

_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_ESCAPED = re.compile(r"\\(.)")
_MADE_BY_ENGINES = frozenset(
    f"/{name}"
    for name in [
        ".dockerenv",
        "dev",
        "dev/console",
        "dev/pts",
        "dev/shm",
        "etc",
        "etc/hostname",
        "etc/hosts",
        "etc/mtab",
        "etc/resolv.conf",
        "proc",
        "sys",
    ]
)
"""What Docker puts into a layer of its own, between those of the image and the container's."""


@dataclass(frozen=True)
class Overlay:
    """The directories of an overlay: one for each layer of the image, lowest first, and the upper one with the changes."""

    lower: Sequence[Path]
    upper: Path

    def changes(self) -> dict[str, str]:
        """Return what differs from the image by path: ``added``, ``changed`` or ``deleted``."""
        found: dict[str, str] = {}
        with _directory(self.upper) as top:
            names = sorted(os.listdir(top))  # noqa: PTH208 - of a descriptor
            reader = DirectReader(os.dup(top))
            for seen in reader.survey([f"/{name}" for name in names], lambda _: False):
                status = _stat(top, seen.path)
                if status and _is_whiteout(status):
                    found[seen.path] = "deleted"
                elif status:
                    found[seen.path] = "changed" if self.look(seen.path) else "added"
        return found

    def look(self, path: str, layers: int | None = None) -> PathInfo | None:
        """Return what the image has at a path, or its lowest ``layers`` have, or None; no link is followed."""
        for layer in reversed(self.lower[:layers]):
            with _directory(layer) as top:
                for above in (*paths.ancestors(path), path):
                    status = _stat(top, above)
                    if status is None:
                        break
                    if above == path:
                        return None if _is_whiteout(status) else _info(top, path, status)
                    if not modes.S_ISDIR(status.st_mode):
                        return None
                if _is_opaque(top, path):
                    return None
        return None

    def mismatch(self, number: int, samples: Sequence[Sample]) -> str:
        """Return how the layer with this number, from 0, differs from samples of the expected one, or an empty text."""
        with _directory(self.lower[number]) as top:
            for sample in samples:
                if difference := _difference(top, sample):
                    return f"{paths.encode(sample.path)} {difference}"
        return ""


def find(root: Mount | None) -> Overlay | None:
    """Return the directories of the overlay at the root of a container; None where they cannot be seen from here."""
    if root is None or root.kind != "overlay":
        return None
    lower: list[str] = []
    upper = ""
    for option in root.options:
        name, _, value = option.partition("=")
        if name == "lowerdir":
            lower += re.split(r"(?<!\\):", value)
        elif name == "lowerdir+":
            lower.append(value)
        elif name == "upperdir":
            upper = value
    # containerd writes the lower directories of many layers relative to the directory of all snapshots.
    beside = Path(_plain(upper)).parent.parent
    directories = [beside / _plain(path) for path in reversed(lower)]
    if not upper.startswith("/") or not all(path.is_dir() for path in (*directories, Path(_plain(upper)))):
        return None
    if directories and _is_made_by_engine(directories[-1]):
        directories.pop()
    return Overlay(directories, Path(_plain(upper)))


def _plain(path: str) -> str:
    return _ESCAPED.sub(r"\1", path)


def _is_made_by_engine(layer: Path) -> bool:
    """Whether a layer has nothing but what Docker puts into one of its own."""
    seen = False
    for directory, folders, files in os.walk(layer):
        for name in (*folders, *files):
            seen = True
            if f"/{os.path.relpath(os.path.join(directory, name), layer)}" not in _MADE_BY_ENGINES:  # noqa: PTH118
                return False
    return seen


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise EngineError(f"cannot read {path}, a directory of the container's overlay: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _stat(top: int, path: str) -> os.stat_result | None:
    try:
        with open_parent(top, path) as (directory, name):
            return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise EngineError(f"cannot read {paths.encode(path)} in a layer of the container: {error.strerror}") from error


def _info(top: int, path: str, status: os.stat_result) -> PathInfo:
    target = None
    if modes.S_ISLNK(status.st_mode):
        with open_parent(top, path) as (directory, name):
            target = paths.from_bytes(os.readlink(name, dir_fd=directory))
    return PathInfo(target, modes.S_ISDIR(status.st_mode))


def _is_whiteout(status: os.stat_result) -> bool:
    return modes.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _is_opaque(top: int, path: str) -> bool:
    """Whether a directory above a path hides what lower layers have in it."""
    for above in paths.ancestors(path):
        with contextlib.suppress(OSError), open_parent(top, above) as (directory, name):
            descriptor = os.open(name, WALK, dir_fd=directory)
            try:
                if any(
                    attribute in _OPAQUE and os.getxattr(descriptor, attribute) == b"y" for attribute in os.listxattr(descriptor)
                ):
                    return True
            finally:
                os.close(descriptor)
    return False


def _difference(top: int, sample: Sample) -> str:
    status = _stat(top, sample.path)
    if status is None:
        return "is missing"
    kind = KINDS.get(modes.S_IFMT(status.st_mode))
    if kind is not sample.kind:
        return "is of another type"
    if kind is Kind.FILE and (status.st_size != sample.size or abs(int(status.st_mtime) - sample.mtime) > 1):
        return "has another size or time"
    if not sample.content:
        return ""
    with open_parent(top, sample.path) as (directory, name):
        if kind is Kind.SYMLINK:
            return "" if paths.from_bytes(os.readlink(name, dir_fd=directory)) == sample.content else "is another link"
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        with os.fdopen(descriptor, "rb") as file:
            return "" if hashlib.sha256(file.read(SMALL + 1)).hexdigest() == sample.content else "has another content"
