"""``python -m bundler`` is ``fps-bundle``."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # that of typing is slow to load
if TYPE_CHECKING:
    from types import TracebackType


def main() -> None:
    """Run the program; a signal shows no traceback, also while the program is loaded."""
    sys.excepthook = _show
    from bundler.cli import signals

    signals.listen()
    from bundler.cli.main import main as run

    run()


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if kind is KeyboardInterrupt:  # before signals are handled; Python then ends by SIGINT itself
        sys.stderr.write("interrupted\n")
    else:
        sys.__excepthook__(kind, error, trace)


if __name__ == "__main__":
    main()
