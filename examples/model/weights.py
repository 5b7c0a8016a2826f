"""How the weights lie on the disk: each version of the model has its own binary format."""

from __future__ import annotations

import os
import struct
import zlib
from collections import Counter
from pathlib import Path

from classifier import Classifier

_MAGIC = {"1.0": b"FPSW1\0", "2.0": b"FPSW2\0"}


def save(classifier: Classifier, path: Path, version: str) -> None:
    """Write the weights whole or not at all."""
    body = b"".join(_record(label, classifier) for label in sorted(classifier.counts))
    data = _MAGIC[version] + (body if version == "1.0" else zlib.compress(body) + struct.pack("<I", zlib.crc32(body)))
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def load(path: Path, version: str) -> Classifier:
    """Read weights of one version; raises `ValueError` for those of another."""
    data = path.read_bytes()
    if not data.startswith(_MAGIC[version]):
        raise ValueError(f"{path} holds no weights of version {version}")
    body = data[len(_MAGIC[version]) :]
    if version == "2.0":
        checksum = body[-4:]
        body = zlib.decompress(body[:-4])
        if struct.pack("<I", zlib.crc32(body)) != checksum:
            raise ValueError(f"{path} is damaged")
    return _read(body)


def load_any(path: Path) -> Classifier:
    """Read weights of whatever version wrote them."""
    with path.open("rb") as file:
        magic = file.read(max(map(len, _MAGIC.values())))
    versions = [version for version, known in _MAGIC.items() if magic.startswith(known)]
    if not versions:
        raise ValueError(f"{path} holds no weights of a version that is known here")
    return load(path, versions[0])


def _record(label: str, classifier: Classifier) -> bytes:
    counter = classifier.counts[label]
    head = _text(label) + struct.pack("<II", classifier.samples[label], len(counter))
    return head + b"".join(_text(word) + struct.pack("<I", count) for word, count in sorted(counter.items()))


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<H", len(raw)) + raw


def _read(body: bytes) -> Classifier:
    classifier, offset = Classifier(), 0

    def text() -> str:
        nonlocal offset
        (length,) = struct.unpack_from("<H", body, offset)
        offset += 2 + length
        return body[offset - length : offset].decode()

    while offset < len(body):
        label = text()
        samples, distinct = struct.unpack_from("<II", body, offset)
        offset += 8
        counter: Counter[str] = Counter()
        for _ in range(distinct):
            word = text()
            (counter[word],) = struct.unpack_from("<I", body, offset)
            offset += 4
        classifier.samples[label] = samples
        classifier.counts[label] = counter
    return classifier
