"""The watchdog's process: ``python -m bundler.engines.watchdog HOST CONTAINER``."""

from __future__ import annotations

import signal
import sys

from bundler.engines import pause


def main() -> None:
    # What ends the command, a Ctrl-C or a hang-up of the terminal, must not end its watchdog.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    pause.say_ready()
    from bundler.engines.docker import DockerEngine  # slow to load, and loaded in the process that waits for us

    host, container = sys.argv[1:]
    engine = DockerEngine(host or None)
    pause.watch(lambda: engine.is_paused(container), lambda: engine.resume(container))


if __name__ == "__main__":
    main()
