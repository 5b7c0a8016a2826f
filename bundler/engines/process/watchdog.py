"""The watchdog of a frozen cgroup: ``python -m bundler.engines.process.watchdog NOTE``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from bundler.engines import pause_guard
from bundler.engines.process.frozen_cgroup import FrozenCgroup


def main() -> None:
    # A Ctrl-C or a hang-up of the terminal ends the command; the watchdog must survive it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    pause_guard.say_ready()
    pause_guard.watch(Path(sys.argv[1]), FrozenCgroup.read)


if __name__ == "__main__":
    main()
