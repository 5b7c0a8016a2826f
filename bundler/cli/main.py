"""The program ``fps-bundle``: load its commands, and turn an error into a message and an exit code."""

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
from bundler.cli.help_format import PlainCommand, paragraphs, with_metavars
from bundler.cli.options import Diagnostics
from bundler.errors import BundlerError

COMMANDS = (
    "push",
    "apply",
    "extract",
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
    "tag",
    "untag",
    "rm",
    "login",
    "logout",
    "prune",
    "doctor",
)
"""The commands in the order of the help. Each is the function ``name`` of the module ``bundler.cli.name``."""

_ARENA_MAX = -8  # ``M_ARENA_MAX`` of malloc.h


class _Commands(Mapping[str, Any]):
    """The commands by name. Each is imported on first use, because a run needs only one of them."""

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
    function = getattr(import_module(f"bundler.cli.{name}"), name)
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name, cls=PlainCommand, help=paragraphs(function.__doc__))(function)
    return typer.main.get_command(single)


class _Group(TyperGroup):
    """The group of all commands. It turns every error into a message and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as failure:
            _escape(failure)
            raise

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": _Commands()})

    def get_params(self, ctx: Any) -> list[Any]:
        return with_metavars(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        invoke = signals.interruptible()(super().invoke)
        raise typer.Exit(_exit_code(lambda: invoke(ctx), ctx.ensure_object(Diagnostics)))


app = typer.Typer(
    cls=_Group,
    name="fps-bundle",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Move the state of a model container between hosts, as a signed OCI artifact.",
    epilog=(
        "SOURCE and DEST are REGISTRY/REPOSITORY:TAG, oci:DIR:TAG, oci-archive:FILE:TAG, FILE.tar, "
        "- for a pipe, or NAME:TAG in the local store. Use @sha256:… instead of :TAG to select a bundle by its digest."
    ),
)


class _Warnings(logging.Handler):
    """Show the log records of other packages of the program as warnings, such as a wait for a lock."""

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
    """Run the program. A result that cannot be written to standard output is an error, too."""
    diagnostics = Diagnostics()
    standard_streams.install()
    guard_terminal(diagnostics)
    _use_one_heap()
    code = _exit_code(lambda: app(obj=diagnostics), diagnostics)
    raise SystemExit(code or _exit_code(sys.stdout.flush, diagnostics))


def _exit_code(work: Callable[[], object], diagnostics: Diagnostics) -> int:
    """Do the work, show its error, and return the exit code."""
    try:
        work()
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("interrupted\n")
        return signals.exit_code()
    except BundlerError as failure:
        from bundler.cli import console

        _show_traceback(failure, diagnostics)
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
        _show_bug(failure, diagnostics)
        return BundlerError.exit_code
    return 0


def _escape(failure: Exception) -> None:
    """Escape the message of a usage error, because it repeats arguments, and an argument can be the name of an untrusted file."""
    if isinstance(message := getattr(failure, "message", None), str):
        from bundler.cli import console

        failure.message = console.safe(message)  # type: ignore[attr-defined]


def guard_terminal(diagnostics: Diagnostics | None = None) -> None:
    """Write nothing to the terminal unescaped: no log record or warning of a library, and no traceback of a thread."""
    shown = diagnostics or Diagnostics()
    logging.captureWarnings(True)
    logging.getLogger().addHandler(logging.NullHandler())
    threading.excepthook = lambda failed: _show_bug(failed.exc_value, shown)
    sys.unraisablehook = lambda failed: _unraisable(failed, shown)


def _unraisable(failed: sys.UnraisableHookArgs, diagnostics: Diagnostics) -> None:
    if not signals.deliver_again(failed):
        _show_traceback(failed.exc_value, diagnostics)


def _use_one_heap() -> None:
    """Let all threads allocate from one heap: memory that is free in the heap of one thread is lost for the others (mallopt(3))."""
    with contextlib.suppress(OSError, AttributeError):  # C libraries other than glibc have no mallopt
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


def _show_bug(failure: BaseException | None, diagnostics: Diagnostics) -> None:
    from bundler.cli import console

    _show_traceback(failure, diagnostics)
    if isinstance(failure, Exception):
        console.bug(failure)


def _show_traceback(failure: BaseException | None, diagnostics: Diagnostics) -> None:
    if diagnostics.traceback and failure:
        from bundler.cli import console

        console.traceback(line for part in traceback.format_exception(failure) for line in part.splitlines())
