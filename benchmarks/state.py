"""The state that is measured: what a model has after a long time of learning, at any size.

Of 2.44 GB it has 2 GiB of float16 weights in files of 64 MiB to 1 GiB, 200 MB of logs in JSON, and 20,000 files of
1 to 8 KiB; of another size everything in proportion. The same seed gives the same bytes.

``python benchmarks/state.py --size 250MB`` writes a tar to standard output, for ``docker cp - CONTAINER:/``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bundler.format import units

MIB = 1 << 20
WEIGHTS = 2048 * MIB
LOGS = 200_000_000
SMALL_FILES = 20_000
SMALL = range(1 << 10, (8 << 10) + 1)
WHOLE = 2_440_000_000
"""Bytes of all of the above, about."""
LOG_FILES = 26
LARGEST = 1024 * MIB
SMALLEST = 64 * MIB
BLOCK = 4 * MIB
DIRECTORY = "srv/state"
TIME = 1_750_000_000


@dataclass(frozen=True)
class Plan:
    """How much of everything a state has."""

    weights: tuple[int, ...]
    logs: int
    small: int

    @property
    def files(self) -> int:
        return len(self.weights) + LOG_FILES + self.small + 1


def plan(size: int) -> Plan:
    """A state of about so many bytes."""
    part = size / WHOLE
    return Plan(tuple(_weight_files(round(WEIGHTS * part) & ~1)), round(LOGS * part), round(SMALL_FILES * part))


def _weight_files(left: int) -> Iterator[int]:
    """Files of half of what is left each, as models have a few large ones and more small ones."""
    while left >= 2 * SMALLEST:
        size = min(LARGEST, 1 << (left // 2).bit_length() - 1)
        yield size
        left -= size
    yield left


class State:
    """The contents, made block by block out of one random stream."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        # Any value of a normal distribution, by a random number of 16 bits; as weights are, they are small.
        self._values = (self._random.standard_normal(1 << 16, dtype=np.float32) * 0.05).astype(np.float16)
        self._log = self._some_log()

    def weights(self, size: int) -> Iterator[bytes]:
        """Weights: zstd makes them smaller by a tenth, as it does real ones."""
        for block in _blocks(size):
            chosen = self._random.integers(0, 1 << 16, (block + 1) // 2, dtype=np.uint16)
            yield self._values[chosen].tobytes()[:block]

    def log(self, size: int) -> Iterator[bytes]:
        """Lines of JSON, from another place in a log that is larger than what compressors look back on."""
        start = int(self._random.integers(0, len(self._log)))
        for block in _blocks(size):
            whole = self._log[start : start + block]
            yield whole + self._log[: block - len(whole)]
            start = (start + block) % len(self._log)

    def small(self) -> bytes:
        """One of the many small files."""
        return b"".join(self.weights(int(self._random.integers(SMALL.start, SMALL.stop))))

    def _some_log(self) -> bytes:
        count = 120_000
        cameras = self._random.integers(0, 24, count).tolist()
        labels = self._random.choice(["vehicle", "person", "animal", "smoke", "unknown"], count).tolist()
        scores = self._random.random(count).tolist()
        boxes = self._random.integers(0, 2048, (count, 4)).tolist()
        motion = (self._random.standard_normal((count, 2)) * 4).round(4).tolist()
        tracks = self._random.integers(0, 1 << 48, count).tolist()
        steps = np.cumsum(self._random.integers(1, 400, count)).tolist()
        lines = (
            f'{{"time": {TIME * 1000 + step}, "level": "info", "module": "detector.inference", "camera": "north-{camera:02}", '
            f'"event": "detection", "label": "{label}", "score": {score:.6f}, "box": {box}, '
            f'"motion": {vector}, "track": "{track:012x}", "threshold": 0.5, "accepted": {"true" if score > 0.5 else "false"}}}\n'
            for step, camera, label, score, box, vector, track in zip(
                steps, cameras, labels, scores, boxes, motion, tracks, strict=True
            )
        )
        return "".join(lines).encode()


def _blocks(size: int) -> Iterator[int]:
    while size > 0:
        yield min(size, BLOCK)
        size -= BLOCK


def archive(size: int, seed: int) -> Iterator[bytes]:
    """A tar with a state below `DIRECTORY`."""
    found, state = plan(size), State(seed)

    def directory(name: str) -> bytes:
        info = tarfile.TarInfo(f"{DIRECTORY}{name}")
        info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, TIME
        return info.tobuf()

    def file(name: str, length: int, content: Iterator[bytes]) -> Iterator[bytes]:
        info = tarfile.TarInfo(f"{DIRECTORY}/{name}")
        info.size, info.mtime = length, TIME
        yield info.tobuf()
        yield from content
        yield bytes(-length % tarfile.BLOCKSIZE)

    for name in ("", "/weights", "/logs", "/features"):
        yield directory(name)
    for number, length in enumerate(found.weights):
        yield from file(f"weights/{number:02}.safetensors", length, state.weights(length))
    for number in range(LOG_FILES):
        length = found.logs // LOG_FILES
        yield from file(f"logs/{number:02}.jsonl", length, state.log(length))
    for number in range(found.small):
        if number % 100 == 0:
            yield directory(f"/features/{number // 100:04}")
        content = state.small()
        yield from file(f"features/{number // 100:04}/{number % 100:02}.bin", len(content), iter([content]))
    index = json.dumps({"weights": list(found.weights), "seed": seed}).encode()
    yield from file("index.json", len(index), iter([index]))
    yield bytes(2 * tarfile.BLOCKSIZE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="2.44GB", help="bytes, such as 250MB or 8GiB")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    sys.stdout.buffer.writelines(archive(units.size(arguments.size), arguments.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
