"""Terminal output: progress, warnings, errors and tables. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import codecs
import json
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from bundler.errors import BaseMismatchError, BundlerError, ModelError
from bundler.format import units

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table
    from rich.text import Text
    from rich.tree import Tree

size = units.shown
counted = units.counted

LONGEST = 8000
"""Maximum number of characters of a message, a hint or a line of a log."""

_WIDE = 250
"""Minimum width of results. A narrow terminal wraps the lines itself, so that a digest can be copied as one word."""


@cache
def _out() -> Console:
    from rich.console import Console

    return Console(highlight=False, width=max(_WIDE, Console().width))


@cache
def _err() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def _text(content: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(safe(content), style)


def _line(content: str, style: str = "") -> Text:
    """Return text for stderr, shortened when it is too long."""
    from rich.text import Text

    return Text(_short(content), style)


def _headed(head: str, style: str, content: str) -> Text:
    from rich.text import Text

    return Text.assemble((head, style), _short(content))


def _short(text: str) -> str:
    """Return an untrusted string as plain text, shortened when it is too long."""
    shown = safe(text[: LONGEST + 1])
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"


def safe(text: str) -> str:
    """Escape all characters of an untrusted string that could move the cursor, change the direction of text or start a new line."""
    if text.isprintable():
        return text
    return "".join(character if _harmless(character) else ascii(character)[1:-1] for character in text)


def duration(seconds: float) -> str:
    """Format a duration, in its two largest units."""
    minutes, hours = int(seconds) // 60, int(seconds) // 3600
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {int(seconds) % 60} s" if minutes else f"{seconds:.1f} s"


_UPDATE_INTERVAL = 0.1
"""Seconds between two updates of a progress bar; rich draws it as often."""


class Terminal:
    """The progress of one command: a bar on a terminal, else one line for each stage; nothing when quiet."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Progress | None = None
        self._task: Any = None
        self._pending = 0
        self._next_update = 0.0
        self._lock = threading.Lock()
        if not quiet and _err().is_terminal:
            self._bar = _new_bar()

    def __enter__(self) -> Terminal:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    @contextmanager
    def still(self) -> Iterator[None]:
        """Hide the bar during the block, because another program uses the terminal."""
        drawn = self._bar is not None and self._bar.live.is_started
        if self._bar and drawn:
            self._bar.stop()
        yield
        if self._bar and drawn:
            self._bar.start()

    def stage(self, text: str, total: int | None = None) -> None:
        if self._bar:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(_short(text), total=total)
            self._pending = 0
        elif not self._quiet:
            _err().print(_line(text + (f" ({size(total)})" if total else "")))

    def advance(self, count: int) -> None:
        """Add to the progress. Small steps are collected, because an update of the bar costs more than most of them."""
        if not self._bar or self._task is None:
            return
        with self._lock:
            self._pending += count
            if (now := time.monotonic()) < self._next_update:
                return
            count, self._pending, self._next_update = self._pending, 0, now + _UPDATE_INTERVAL
        self._bar.advance(self._task, count)

    @contextmanager
    def aside(self, text: str, total: int) -> Iterator[Callable[[int], object]]:
        """Show a second bar below that of the stage during the block."""
        if not self._bar:
            self.stage(text, total)
            yield lambda _: None
            return
        task = self._bar.add_task(_short(text), total=total)
        try:
            yield partial(self._bar.advance, task)
        finally:
            self._bar.remove_task(task)

    def note(self, text: str) -> None:
        """Show a detail of the current stage, less prominent than a warning."""
        if not self._quiet:
            _err().print(_line(text, "dim"))

    def warn(self, text: str) -> None:
        warn(text)

    def say(self, text: str) -> None:
        """Show information that is not a result."""
        if not self._quiet:
            _err().print(_line(text))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Show a table that is not a result."""
        if not self._quiet:
            _err().print(_table(columns, rows))


def _new_bar() -> Progress:
    from rich import progress

    return progress.Progress(
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        console=_err(),
        transient=True,
    )


def warn(text: str) -> None:
    """Show a warning; the command continues."""
    _err().print(_headed("warning: ", "bold yellow", text))


def result(text: str) -> None:
    """Print one line of the result."""
    sys.stdout.write(safe(text) + "\n")


def result_json(content: Any) -> None:
    """Print a result as JSON, with everything escaped that is not printable ASCII."""
    sys.stdout.write(_json(content, indent=2) + "\n")


def result_json_list(
    before: Mapping[str, Any], name: str, items: Iterable[Any], after: Callable[[], Mapping[str, Any]] = dict
) -> None:
    """Print a JSON object with a long list, one item at a time. ``after`` is called when all items are written."""
    sys.stdout.write("{" + "".join(f"\n  {_json(key)}: {_json(value)}," for key, value in before.items()))
    sys.stdout.write(f"\n  {_json(name)}: [")
    for number, item in enumerate(items):
        sys.stdout.write(f"{',' if number else ''}\n    {_json(item)}")
    sys.stdout.write("\n  ]" + "".join(f",\n  {_json(key)}: {_json(value)}" for key, value in after().items()) + "\n}\n")


def result_rows(widths: Sequence[int], rows: Iterable[Sequence[str]]) -> None:
    """Print many rows, one at a time: on a terminal in columns of these widths, else tab-separated."""
    is_terminal = sys.stdout.isatty()
    for row in rows:
        cells = [safe(cell) for cell in row]
        if is_terminal:
            cells = [*(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)), *cells[len(widths) :]]
        sys.stdout.write((" " if is_terminal else "\t").join(cells) + "\n")


def result_content(blocks: Iterable[bytes]) -> None:
    """Print untrusted content byte for byte; on a terminal as text with control characters escaped."""
    is_terminal = sys.stdout.isatty()
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    for block in blocks:
        _write(_plain(decoder.decode(block)).encode() if is_terminal else block)
    _write(_plain(decoder.decode(b"", final=True)).encode())


def result_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on a terminal, else tab-separated lines without a header."""
    if not sys.stdout.isatty():
        for row in rows:
            sys.stdout.write("\t".join(safe(cell) for cell in row) + "\n")
        return
    _out().print(_table(columns, rows))


def result_tree(tree: Tree) -> None:
    _out().print(tree)


def error(failure: BundlerError) -> None:
    """Show an error: the message, a table of mismatches, the log of a model, the hint, and a command on a separate line."""
    _err().print(_headed("error: ", "bold red", failure.message))
    if isinstance(failure, BaseMismatchError) and failure.mismatches:
        rows = [(item.what, item.recorded, item.found) for item in failure.mismatches]
        _err().print(_table(("property", "recorded", "on this host"), rows))
    if isinstance(failure, ModelError):
        for line in (failure.log or "").splitlines():
            _err().print(_line(f"  {line}", "dim"))
    if failure.hint:
        _err().print(_line(failure.hint))
    if failure.command:
        _err().print(_text(f"  {failure.command}"))


def traceback(lines: Iterable[str]) -> None:
    """Show a traceback. Its text is untrusted, as it can quote content of a bundle."""
    for line in lines:
        _err().print(_line(line))


def bug(failure: Exception) -> None:
    """Show an unexpected exception, which is a bug of fps-bundle."""
    _err().print(_headed("bug: ", "bold red", f"{type(failure).__name__}: {failure}"))
    _err().print(_text("Report this bug, and add the output of the same command with --debug."))


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_text(cell) for cell in row))
    return table


def _json(content: Any, indent: int | None = None) -> str:
    return json.dumps(content, indent=indent, ensure_ascii=True).replace("\x7f", "\\u007f")


def _plain(text: str) -> str:
    return "".join(character if character in "\n\t" else safe(character) for character in text)


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _harmless(character: str) -> bool:
    return not unicodedata.category(character).startswith(("C", "Zl", "Zp"))
