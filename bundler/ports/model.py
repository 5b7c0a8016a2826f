"""The Migrator of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class Model(Protocol):
    """The Migrator of a model. Every method raises `ModelError`."""

    def export(self) -> Sequence[str]:
        """Have the model write its state to disk and return the paths; waits until the model is up first."""
        ...

    def connect(self) -> None:
        """Wait until the model is up."""
        ...

    def ingest(self, copy: Callable[[str, str], str]) -> None:
        """Serve the model's requests for files of an older one, in their order, until the model ends the call.

        ``copy`` takes source and destination, and returns an error message or an empty string.
        """
        ...

    def close(self) -> None: ...
