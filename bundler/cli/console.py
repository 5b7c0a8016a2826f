"""What people see: progress, warnings, errors and tables. Results go to stdout, all else to stderr."""

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
"""Most characters of a message, a hint or a line of a log that are shown."""

_WIDE = 250
"""Columns for which results are laid out: a narrow terminal wraps lines itself, so that digests can still be copied whole."""


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
    """What is said on stderr, where a text of any length is shown in part."""
    from rich.text import Text

    return Text(_short(content), style)


def _headed(head: str, style: str, content: str) -> Text:
    from rich.text import Text

    return Text.assemble((head, style), _short(content))


def _short(text: str) -> str:
    """A foreign string as plain text, cut where it is too long."""
    shown = safe(text[: LONGEST + 1])
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"


def safe(text: str) -> str:
    """A foreign string with everything escaped that could move the cursor, turn the text round or fake a line."""
    if text.isprintable():
        return text
    return "".join(character if _harmless(character) else ascii(character)[1:-1] for character in text)


def duration(seconds: float) -> str:
    """A length of time for people, in its two largest units."""
    minutes, hours = int(seconds) // 60, int(seconds) // 3600
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {int(seconds) % 60} s" if minutes else f"{seconds:.1f} s"


_BETWEEN_STEPS = 0.1
"""Seconds between two steps of a bar, as often as it is drawn."""


class Terminal:
    """Shows the progress of one command: a bar on a terminal, one line for each stage elsewhere, nothing when quiet."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Progress | None = None
        self._task: Any = None
        self._untold = 0
        self._tell_at = 0.0
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
        """Draw nothing for the length of the block, because somebody else speaks to the user."""
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
            self._untold = 0
        elif not self._quiet:
            _err().print(_line(text + (f" ({size(total)})" if total else "")))

    def advance(self, count: int) -> None:
        """Many small steps are told as one: drawing each would take longer than most of them."""
        if not self._bar or self._task is None:
            return
        with self._lock:
            self._untold += count
            if (now := time.monotonic()) < self._tell_at:
                return
            count, self._untold, self._tell_at = self._untold, 0, now + _BETWEEN_STEPS
        self._bar.advance(self._task, count)

    @contextmanager
    def aside(self, text: str, total: int) -> Iterator[Callable[[int], object]]:
        """A bar below that of the stage, for the length of the block."""
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
        """What happens to the current stage; a warning's worth of attention it is not."""
        if not self._quiet:
            _err().print(_line(text, "dim"))

    def warn(self, text: str) -> None:
        warn(text)

    def say(self, text: str) -> None:
        """Something good to know that is no result."""
        if not self._quiet:
            _err().print(_line(text))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table of what is good to know."""
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
    """Something that the user should know, though the work goes on."""
    _err().print(_headed("warning: ", "bold yellow", text))


def result(text: str) -> None:
    """A result, for people and scripts alike."""
    sys.stdout.write(safe(text) + "\n")


def result_json(content: Any) -> None:
    """A result for scripts, in which JSON's own escapes stand for all that is not printable ASCII."""
    sys.stdout.write(_json(content, indent=2) + "\n")


def result_json_list(
    before: Mapping[str, Any], name: str, items: Iterable[Any], after: Callable[[], Mapping[str, Any]] = dict
) -> None:
    """A JSON object with a list so long that it is written as it comes; what stands behind that is asked for then."""
    sys.stdout.write("{" + "".join(f"\n  {_json(key)}: {_json(value)}," for key, value in before.items()))
    sys.stdout.write(f"\n  {_json(name)}: [")
    for number, item in enumerate(items):
        sys.stdout.write(f"{',' if number else ''}\n    {_json(item)}")
    sys.stdout.write("\n  ]" + "".join(f",\n  {_json(key)}: {_json(value)}" for key, value in after().items()) + "\n}\n")


def result_rows(widths: Sequence[int], rows: Iterable[Sequence[str]]) -> None:
    """Rows so many that they are written as they come: in columns on a terminal, the last ones ragged, else tab-separated."""
    is_terminal = sys.stdout.isatty()
    for row in rows:
        cells = [safe(cell) for cell in row]
        if is_terminal:
            cells = [*(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)), *cells[len(widths) :]]
        sys.stdout.write((" " if is_terminal else "\t").join(cells) + "\n")


def result_content(blocks: Iterable[bytes]) -> None:
    """A stranger's content: byte for byte, but on a terminal as text, with all escaped that is not harmless there."""
    is_terminal = sys.stdout.isatty()
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    for block in blocks:
        _write(_plain(decoder.decode(block)).encode() if is_terminal else block)
    _write(_plain(decoder.decode(b"", final=True)).encode())


def result_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on a terminal, tab-separated lines without a head elsewhere."""
    if not sys.stdout.isatty():
        for row in rows:
            sys.stdout.write("\t".join(safe(cell) for cell in row) + "\n")
        return
    _out().print(_table(columns, rows))


def result_tree(tree: Tree) -> None:
    _out().print(tree)


def error(failure: BundlerError) -> None:
    """How an error looks: what failed, what differs where that is known, what to do, and a command on a line of its own."""
    _err().print(_headed("error: ", "bold red", failure.message))
    if isinstance(failure, BaseMismatchError) and failure.mismatches:
        rows = [(item.what, item.recorded, item.found) for item in failure.mismatches]
        _err().print(_table(("what", "recorded", "found here"), rows))
    if isinstance(failure, ModelError):
        for line in (failure.log or "").splitlines():
            _err().print(_line(f"  {line}", "dim"))
    if failure.hint:
        _err().print(_line(failure.hint))
    if failure.command:
        _err().print(_text(f"  {failure.command}"))


def traceback(lines: Iterable[str]) -> None:
    """The traceback of an error, whose text may be a stranger's."""
    for line in lines:
        _err().print(_line(line))


def bug(failure: Exception) -> None:
    """How an error looks that should not be."""
    _err().print(_headed("bug: ", "bold red", f"{type(failure).__name__}: {failure}"))
    _err().print(_text("Please report this, with the output of the same command with --debug."))


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
