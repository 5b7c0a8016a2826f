"""The watchdog process: ``python -m bundler.engines.watchdog HOST CONTAINER NOTE``."""

from __future__ import annotations

import sys
from pathlib import Path

from bundler.engines import pause_guard


def main() -> None:
    host, container, note = sys.argv[1:]
    pause_guard.watch(Path(note), lambda _: _Paused(host, container))


class _Paused:
    """A container that may be paused; Docker's library is slow to import, and mostly not needed."""

    def __init__(self, host: str, container: str) -> None:
        from bundler.engines.docker import DockerEngine

        self._engine = DockerEngine(host or None)
        self._container = container

    def is_paused(self) -> bool:
        return self._engine.is_paused(self._container)

    def resume(self) -> None:
        self._engine.resume(self._container)


if __name__ == "__main__":
    main()
