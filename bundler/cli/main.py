"""The program ``fps-bundle``: its commands, and what becomes of an error."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from bundler.cli import signals, standard_streams
from bundler.cli.options import DEBUG
from bundler.errors import BundlerError

COMMANDS = (
    "push",
    "apply",
    "ingest",
    "undo",
    "copy",
    "split",
    "sign",
    "verify",
    "inspect",
    "cat",
    "diff",
    "history",
    "list",
    "login",
    "logout",
    "prune",
    "doctor",
)
"""Every command, in the order of the help; each is the function of its name in the module of its name."""

_ARENA_MAX = -8  # ``M_ARENA_MAX`` of malloc.h


class _Commands(Mapping[str, Any]):
    """The commands by name, each loaded when it is asked for: a run needs one of them."""

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        return _command(name)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


@cache
def _command(name: str) -> Any:
    alone = typer.Typer(add_completion=False)
    alone.command(name)(getattr(import_module(f"bundler.cli.{name}"), name))
    return typer.main.get_command(alone)


class _Group(TyperGroup):
    """Turns every error into a message and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as failure:
            _escape(failure)
            raise

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": _Commands()})

    def invoke(self, ctx: Any) -> Any:
        invoke = signals.interruptible()(super().invoke)
        raise typer.Exit(_exit_code(lambda: invoke(ctx)))


app = typer.Typer(
    cls=_Group,
    name="fps-bundle",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Move what a model has learned from one host to another: exactly, provably, over any link or none.",
    epilog=(
        "A bundle is named REGISTRY/REPOSITORY:TAG, oci:DIR:TAG, oci-archive:FILE:TAG, FILE.tar, "
        "- for a pipe, or NAME:TAG for the local store. @sha256:… in place of :TAG names one exactly."
    ),
)


class _Warnings(logging.Handler):
    """Shows what a part of the program warns of, such as a wait for a lock."""

    def emit(self, record: logging.LogRecord) -> None:
        from bundler.cli import console

        console.warn(record.getMessage())


_WARNINGS = _Warnings()


def _show_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"fps-bundle {version('fps-bundle')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    logging.getLogger("bundler").addHandler(_WARNINGS)


def main() -> NoReturn:
    """Run the program; a result that cannot be written is an error, too."""
    standard_streams.install()
    guard_terminal()
    _share_memory()
    raise SystemExit(_exit_code(app) or _exit_code(sys.stdout.flush))


def _exit_code(work: Callable[[], object]) -> int:
    """Do some work, show its error, and return the exit code."""
    try:
        work()
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("interrupted\n")
        return signals.exit_code()
    except BundlerError as failure:
        from bundler.cli import console

        _show_traceback(failure)
        console.error(failure)
        return failure.exit_code
    except standard_streams.ReaderGoneError:
        return 0
    except SystemExit as ended:
        return int(ended.code or 0)
    except Exception as failure:
        if type(failure).__module__.startswith(("typer", "click")):
            _escape(failure)
            raise
        _show_bug(failure)
        return BundlerError.exit_code
    return 0


def _escape(failure: Exception) -> None:
    """Make the message of a usage error plain text: it repeats what was typed, which can be the name of a file."""
    if isinstance(message := getattr(failure, "message", None), str):
        from bundler.cli import console

        failure.message = console.safe(message)  # type: ignore[attr-defined]


def guard_terminal() -> None:
    """Let nothing reach the terminal unescaped: no library's log or warning, no thread's traceback."""
    logging.captureWarnings(True)
    logging.getLogger().addHandler(logging.NullHandler())
    threading.excepthook = lambda failed: _show_bug(failed.exc_value)
    sys.unraisablehook = _unraisable


def _unraisable(failed: sys.UnraisableHookArgs) -> None:
    if not signals.deliver_again(failed):
        _show_traceback(failed.exc_value)


def _share_memory() -> None:
    """Let all threads share one heap: in heaps of their own, each would keep what others could use (mallopt(3))."""
    with contextlib.suppress(OSError, AttributeError):  # another C library has no such thing
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


def _show_bug(failure: BaseException | None) -> None:
    from bundler.cli import console

    _show_traceback(failure)
    if isinstance(failure, Exception):
        console.bug(failure)


def _show_traceback(failure: BaseException | None) -> None:
    if DEBUG["on"] and failure:
        from bundler.cli import console

        console.traceback(line for part in traceback.format_exception(failure) for line in part.splitlines())
