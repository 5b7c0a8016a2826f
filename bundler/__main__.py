"""Run ``fps-bundle`` as ``python -m bundler``."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing.TYPE_CHECKING would import typing, which is slow
if TYPE_CHECKING:
    from types import TracebackType


def main() -> None:
    """Run the program. A signal shows no traceback, even while modules are imported."""
    sys.excepthook = _show
    from bundler.cli import signals

    signals.listen()
    from bundler.cli.main import main as run

    run()


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if kind is KeyboardInterrupt:  # before listen(); Python then kills itself by SIGINT
        sys.stderr.write("interrupted\n")
    else:
        sys.__excepthook__(kind, error, trace)


if __name__ == "__main__":
    main()
