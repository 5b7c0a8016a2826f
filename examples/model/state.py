"""What the model knows, in memory and below ``/opt/model``: weights, samples, configuration."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from pathlib import Path

import weights
from classifier import Classifier


class State:
    """The learned state of one model; safe to use from several threads."""

    def __init__(self, root: Path, version: str) -> None:
        self._weights = root / "weights.bin"
        self._samples = root / "samples.db"
        self._config = root / "config.json"
        self._version = version
        self._lock = threading.Lock()
        self.inbox = root / "older"
        """Where the files of an older version arrive, before they are taken over."""
        root.mkdir(parents=True, exist_ok=True)
        if not self._config.exists():
            self._config.write_text(json.dumps({"smoothing": 1.0, "name": "fire-or-water"}, indent=2) + "\n")
        self._open()

    def _open(self) -> None:
        self._classifier = weights.load(self._weights, self._version) if self._weights.exists() else Classifier()
        self._classifier.smoothing = json.loads(self._config.read_text())["smoothing"]
        self._database = sqlite3.connect(self._samples, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("CREATE TABLE IF NOT EXISTS samples (text TEXT NOT NULL, label TEXT NOT NULL)")

    @property
    def paths(self) -> list[Path]:
        """The files that are this model, once `flush` has returned."""
        return [self._weights, self._samples, self._config]

    def learn(self, text: str, label: str) -> int:
        """Learn one sample; gives how many there are now. The weights reach the disk with `flush` alone."""
        with self._lock, self._database:
            self._database.execute("INSERT INTO samples VALUES (?, ?)", (text, label))
            self._classifier.learn(text, label)
            return self._classifier.samples.total()

    def predict(self, text: str) -> dict[str, float]:
        with self._lock:
            return self._classifier.predict(text)

    def flush(self) -> None:
        """Bring all that was learned to disk; the database into its one file."""
        with self._lock:
            weights.save(self._classifier, self._weights, self._version)
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def take_over(self) -> None:
        """Become what the files in the inbox say, with the weights in this version's own format."""
        with self._lock:
            weights.save(weights.load_any(self.inbox / self._weights.name), self._weights, self._version)
            self._database.close()
            for path in (self._samples, self._config):
                (self.inbox / path.name).replace(path)
            shutil.rmtree(self.inbox)
            self._open()
