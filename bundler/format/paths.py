"""Paths in a container: which can be exported, how they are resolved, and how they are encoded.

A path is a ``str`` whose bytes that are not UTF-8 stand as surrogates (PEP 383), absolute, without a
slash at its end.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterable
from urllib.parse import unquote_to_bytes

from bundler.errors import IntegrityError, ModelError

FORBIDDEN = ("/proc", "/sys", "/dev")
"""Trees that the engine creates for every container."""

MAX_PATHS = 100_000
MAX_LENGTH = 4095
"""Longest path in bytes that Linux takes (path_resolution(7), without the zero at its end)."""
MAX_PORTABLE = MAX_LENGTH - 256
"""Longest path in bytes that is captured.

Engines walk and unpack with absolute paths, and skip paths longer than `MAX_LENGTH`, some without an error. Every name in a
directory with a path of up to this length can be listed, so readers notice longer paths. The engine's own directory, in
which a layer is unpacked, may have a path of 256 bytes.
"""
MAX_NAME = 255
"""Longest name of a file in bytes."""
MAX_LINKS = 40
"""Symlinks on the way to one path, as in Linux (path_resolution(7))."""

_UNCLEAN = frozenset({"", ".", ".."})
_HINT = "Correct the paths that the model's Export returns."


def to_bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def from_bytes(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def is_utf8(path: str) -> bool:
    """Whether a path is valid UTF-8, without surrogates."""
    try:
        return path.isascii() or bool(path.encode())
    except UnicodeEncodeError:
        return False


def encode(path: str) -> str:
    """Percent-encode ``%`` and every byte outside printable ASCII, so that any path fits into JSON."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F and byte != 0x25 else f"%{byte:02X}" for byte in to_bytes(path))


def decode(text: str) -> str:
    """Undo `encode`; raises `IntegrityError` for any other spelling than that of `encode`."""
    path = from_bytes(unquote_to_bytes(text)) if re.fullmatch(r"[ -~]*", text) else ""
    if encode(path) != text:
        raise IntegrityError(f"a path is not in its canonical spelling: {text[:200]!r}")
    return path


def sort_key(path: str) -> tuple[bytes, ...]:
    """Orders paths as a walk meets them: parents first, siblings by their bytes."""
    return tuple(to_bytes(path).split(b"/"))


def is_within(path: str, top: str) -> bool:
    """Whether ``path`` is ``top`` or lies below it."""
    return path == top or path.startswith(top.rstrip("/") + "/")


def top_of(path: str, tops: Collection[str]) -> str:
    """Return the path of ``tops`` that is ``path`` or lies above it, or an empty text."""
    return next((top for top in (path, *ancestors(path)) if top in tops), "")


def overlap(one: str, other: str) -> bool:
    """Whether one of two paths is the other or lies below it."""
    return is_within(one, other) or is_within(other, one)


def is_clean(path: str) -> bool:
    """Whether a path is absolute, below the root, and has no part that is empty, ``.`` or ``..``."""
    return path.startswith("/") and "\0" not in path and _UNCLEAN.isdisjoint(path[1:].split("/"))


def is_short(raw: bytes) -> bool:
    """Whether a file system could hold a path of these bytes."""
    return len(raw) <= MAX_LENGTH and (len(raw) <= MAX_NAME or all(len(name) <= MAX_NAME for name in raw.split(b"/")))


def ancestors(path: str) -> list[str]:
    """The directories above ``path``, outermost first, without the root."""
    parts = path.split("/")[1:-1]
    return ["/" + "/".join(parts[: end + 1]) for end in range(len(parts))]


def join(directory: str, name: str) -> str:
    return f"{directory.rstrip('/')}/{name}"


def check_exports(given: Iterable[str]) -> list[str]:
    """The exported paths without a slash at their ends; raises `ModelError` that lists every path that cannot be exported."""
    exports = list(given)
    if not exports:
        raise ModelError("the model's Export named no paths, so there is nothing to move", hint=_HINT)
    if len(exports) > MAX_PATHS:
        raise ModelError(f"the model's Export named {len(exports)} paths, more than {MAX_PATHS}", hint="Name directories.")
    faults = [f"{encode(path)[:200]!r} {found}" for path in exports if (found := fault(path))]
    if faults:
        raise ModelError(f"the model's Export named paths that cannot be exported: {'; '.join(faults[:20])}", hint=_HINT)
    return [path.removesuffix("/") for path in exports]


def fault(path: str) -> str:
    """Return why a path of a container cannot be exported or copied, or an empty text; a slash at its end is allowed."""
    if not path.startswith("/"):
        return "is not absolute"
    if len(to_bytes(path)) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} bytes"
    if path == "/":
        return "is the root of the file system"
    if not is_clean(path.removesuffix("/")):
        return "is not a clean path"
    first = path.split("/")[1]
    if "/" + first in FORBIDDEN:
        return f"lies in /{first}, which the engine creates for every container"
    return ""


def resolve(path: str, read_link: Callable[[str], str | None]) -> str:
    """Resolve ``path``: follow every symlink among its parents, but not its last part.

    ``read_link`` returns the target of a path that is a symlink, else None. Raises `ModelError` for a loop.
    """
    done, todo, links = "", path.split("/")[1:], 0
    while todo:
        part = todo.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            done = done.rpartition("/")[0]
            continue
        target = read_link(f"{done}/{part}") if todo else None
        if target is None:
            done = f"{done}/{part}"
            continue
        links += 1
        if links > MAX_LINKS:
            raise ModelError(f"{encode(path)!r} goes through a loop of symbolic links", hint=_HINT)
        todo = target.split("/") + todo
        done = "" if target.startswith("/") else done
    return done or "/"


def absolute(target: str, link: str) -> str:
    """Return the absolute target of a symlink, without following other links."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(link), target))


def merge(paths: Iterable[str]) -> list[str]:
    """The topmost of ``paths``, each once, in walking order."""
    merged: list[str] = []
    for path in sorted(set(paths), key=sort_key):
        if not merged or not is_within(path, merged[-1]):
            merged.append(path)
    return merged
