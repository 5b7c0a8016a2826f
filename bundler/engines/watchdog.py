"""The watchdog process: ``python -m bundler.engines.watchdog HOST CONTAINER NOTE``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from bundler.engines import pause_guard


def main() -> None:
    # A Ctrl-C or a hang-up of the terminal ends the command; the watchdog must survive it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    pause_guard.say_ready()
    from bundler.engines.docker import DockerEngine  # slow to import, so only after the watched process may go on

    host, container, note = sys.argv[1:]
    engine = DockerEngine(host or None)
    pause_guard.watch(Path(note), lambda: engine.is_paused(container), lambda: engine.resume(container))


if __name__ == "__main__":
    main()
