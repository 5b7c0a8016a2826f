"""Cache of samples of layers, so that a later push compares the base without reading its layers again."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bundler.engines.process.layer_files import Sample
from bundler.errors import IntegrityError, StoreError
from bundler.format import paths, strict_json
from bundler.format.content import Digest
from bundler.format.tar import Kind
from bundler.localfs import private_file, recently_used
from bundler.localfs.atomic_file import write_file

KEPT = 512
"""Number of layers whose samples are kept; the least recently used is deleted first."""


class SampleCache:
    """A directory of samples, one file for each layer by its diff ID."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find(self, diff_id: Digest) -> list[Sample] | None:
        """Return the samples of a layer; None if they are not kept, or damaged."""
        path = self._path(diff_id)
        with contextlib.suppress(OSError, StoreError, IntegrityError, KeyError, TypeError, ValueError):
            private_file.check_directory(self._directory)
            data = private_file.read_private(path, "samples of a layer")
            samples = [_sample(item) for item in strict_json.load(data, str(path))["samples"]]
            os.utime(path)
            return samples
        return None

    def keep(self, diff_id: Digest, samples: Sequence[Sample]) -> None:
        private_file.make_directory(self._directory)
        items = [
            {**asdict(it), "path": paths.encode(it.path), "kind": it.kind.name, "content": paths.encode(it.content)}
            for it in samples
        ]
        write_file(self._path(diff_id), json.dumps({"samples": items}).encode(), 0o600)
        recently_used.keep_newest(self._directory, "*.samples", KEPT)

    def _path(self, diff_id: Digest) -> Path:
        return self._directory / f"{diff_id.hex}.samples"


def _sample(item: dict[str, object]) -> Sample:
    path, content = paths.decode(str(item["path"])), paths.decode(str(item["content"]))
    return Sample(path, Kind[str(item["kind"])], int(str(item["size"])), int(str(item["mtime"])), content)
