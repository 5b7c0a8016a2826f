"""The watchdog of a frozen cgroup: ``python -m bundler.engines.process.watchdog NOTE``."""

from __future__ import annotations

import sys
from pathlib import Path

from bundler.engines import pause_guard
from bundler.engines.process.frozen_cgroup import FrozenCgroup


def main() -> None:
    pause_guard.watch(Path(sys.argv[1]), FrozenCgroup.read)


if __name__ == "__main__":
    main()
