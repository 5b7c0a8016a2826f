"""Hostile files around sound content: archives of two meanings, links in layouts, registries that lie."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bundler.stores.layout import index
from hostile.case import Case, archive, layout
from hostile.forge import archived
from hostile.layers import raw

MANIFEST_SIZE = 5 << 20
VERSIONS = {
    "2.0.0": b'{"imageLayoutVersion":"2.0.0"}',
    "none": b"{}",
    "that is a number": b'{"imageLayoutVersion":1}',
    "twice": b'{"imageLayoutVersion":"2.0.0","imageLayoutVersion":"1.0.0"}',
    "of 5 MiB": b'{"imageLayoutVersion":"1.0.0"}' + b" " * MANIFEST_SIZE,
}


def archives() -> Iterator[Case]:
    for name, spoil in {
        "no bytes": lambda data: data[:0],
        "one byte": lambda data: data[:1],
        "511 bytes": lambda data: data[:511],
        "one record": lambda data: data[:512],
        "a quarter": lambda data: data[: len(data) // 4],
        "half": lambda data: data[: len(data) // 2],
        "three quarters": lambda data: data[: len(data) * 3 // 4],
        "all but its index": lambda data: data[: data.index(index.INDEX_FILE.encode()) + 700],
        "one byte behind": lambda data: data + b"x",
        "1 MiB behind": lambda data: data + b"x" * (1 << 20),
        "another archive behind": lambda data: data + data,
        "65 MiB of zeros behind": lambda data: data + bytes(65 << 20),
        "a second index": lambda data: (
            data[:-1024] + archived(index.INDEX_FILE, b'{"schemaVersion":2,"manifests":[]}') + bytes(1024)
        ),
        "the index as ./index.json, too": lambda data: data[:-1024] + raw("./index.json", data=b"{}") + bytes(1024),
        "a PAX header of 100 MiB": lambda data: raw("././@PaxHeader", tarfile.XHDTYPE, b"y" * (100 << 20)) + data,
        "2,000 PAX headers": lambda data: raw("././@PaxHeader", tarfile.XHDTYPE, b"9 uid=50\n") * 2000 + data,
        "a long name of 100 MiB": lambda data: raw("././@LongLink", tarfile.GNUTYPE_LONGNAME, b"y" * (100 << 20)) + data,
        "20,000 entries": lambda data: raw("x", tarfile.DIRTYPE) * 20_000 + data,
        "a negative size": lambda data: b"x" + bytes(99) + b"0000644\0" * 3 + b"\xff" * 12 + data[136:512] + data,
        "a wrong checksum": lambda data: data[:148] + b"000000\0 " + data[156:],
    }.items():
        yield archive(f"archive: {name}", archive=spoil)
    for name, change in {
        "no index": lambda files: files.pop(index.INDEX_FILE),
        "no blobs": lambda files: [files.pop(file) for file in list(files) if file.startswith("blobs")],
        "blobs of other content": lambda files: files.update({file: data[::-1] for file, data in files.items() if "/" in file}),
        "a longer manifest": lambda files: files.update({file: data + b" " for file, data in files.items() if b'"layers"' in data}),
    }.items():
        yield archive(f"archive: {name}", files=change)


def layouts() -> Iterator[Case]:
    def each_blob(spoil: Callable[[Path], object]) -> Callable[[Path], None]:
        def spoil_all(path: Path) -> None:
            for blob in (path / "blobs/sha256").iterdir():
                spoil(blob)

        return spoil_all

    def linked(path: Path) -> None:
        path.rename(path.with_suffix(".moved"))
        path.symlink_to(path.with_suffix(".moved"))

    def fifo(path: Path) -> None:
        path.unlink()
        os.mkfifo(path)

    def folder(path: Path) -> None:
        path.unlink()
        path.mkdir()

    def endless(path: Path) -> None:
        os.truncate(path, 200 << 20)

    for name, spoil in {"a link": linked, "a FIFO": fifo, "a directory": folder, "200 MiB": endless}.items():
        yield layout(f"{name} as the index", lambda path, spoil=spoil: spoil(path / index.INDEX_FILE))
        yield layout(f"{name} as each blob", each_blob(spoil))
    yield layout("a sound one", lambda _: None, sound=True)
    yield layout("no version", lambda path: (path / index.LAYOUT_FILE).unlink(), sound=True)
    for name, data in VERSIONS.items():
        yield layout(f"the version {name}", lambda path, data=data: (path / index.LAYOUT_FILE).write_bytes(data))
        yield archive(f"archive: the version {name}", files=lambda files, data=data: files.update({index.LAYOUT_FILE: data}))
    yield layout("a link as the version", lambda path: linked(path / index.LAYOUT_FILE))
    yield archive(
        "archive: a manifest that is really 200 MiB long",
        index=lambda it: it["manifests"][0].update(size=200 << 20),
        manifest_data=lambda data: data + b" " * ((200 << 20) - len(data)),
    )
    yield archive("archive: a metadata of 5 MiB", config=lambda data: data + b" " * (MANIFEST_SIZE - len(data)))
