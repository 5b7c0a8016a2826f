"""The entries of a layer that any tool made: of any tar format, in any order, with whiteouts.

Source: OCI image spec 1.1, layer.md, "Representing Changes".
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, cast

from bundler.errors import IntegrityError
from bundler.format import tar
from bundler.streams import BLOCK, Readable

_OPAQUE = tar.WHITEOUT + tar.WHITEOUT + ".opq"


def members(content: Readable, where: str) -> Iterator[tuple[str, tarfile.TarInfo, Callable[[], bytes]]]:
    """Yield each entry of an uncompressed tar with its absolute path, and a function that reads its content before the next one.

    Raises `IntegrityError` for a damaged archive. What follows its end is left in ``content``.
    """
    file = cast(IO[bytes], content)
    try:
        with tarfile.open(fileobj=file, mode="r|", bufsize=BLOCK, encoding="utf-8", errors="surrogateescape") as archive:
            while member := archive.next():
                archive.members.clear()  # type: ignore[attr-defined]  # it would remember all entries
                yield _absolute(member.name), member, partial(_content, archive, member)
    except (tarfile.TarError, UnicodeError, ValueError) as error:
        raise IntegrityError(f"{where}: a layer is no readable tar archive: {error}") from error


def _absolute(name: str) -> str:
    """Return the path in the image of a name in a tar."""
    return posixpath.normpath(f"/{name}".replace("//", "/"))


def hidden_by(path: str) -> tuple[str, bool] | None:
    """Return what a whiteout hides of the layers below: a path, and whether the path itself goes, or only what is below it.

    None for an ordinary entry.
    """
    directory, _, name = path.rpartition("/")
    if name == _OPAQUE:
        return directory, False
    return (f"{directory}/{name.removeprefix(tar.WHITEOUT)}", True) if name.startswith(tar.WHITEOUT) else None


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file else b""
