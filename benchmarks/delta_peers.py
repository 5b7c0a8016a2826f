"""Other tools that send what changed in files, beside a delta of ours: zstd, xdelta3, borg and rsync, where they are installed.

Each gets the old and the new tree of files, ``$OLD`` and ``$NEW``. zstd and xdelta3 work on one file after another, on those that
``$CHANGED`` lists; a new name has no old file.
"""

from __future__ import annotations

import filecmp
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from measuring import Case, size_of

ZSTD = "zstd --patch-from"
XDELTA = "xdelta3"
BORG = "borg create"
RSYNC = "rsync"
NAMES = (ZSTD, XDELTA, BORG, RSYNC)

_EACH = """n=0
while read -r file; do
    n=$((n + 1))
    if [ -f "$OLD/$file" ]; then {known}; else {new}; fi
done < "$CHANGED"
"""
_NEW = 'zstd -q -f -3 "$NEW/$file" -o "$OUT/$n"'
_XDELTA = 'xdelta3 -e -q -f -B $(($(stat -c %s "$OLD/$file") + 1048576)) -s "$OLD/$file" "$NEW/$file" "$OUT/$n"'
_COMMANDS = {
    ZSTD: _EACH.format(known='zstd -q -f -3 --long=31 --patch-from="$OLD/$file" "$NEW/$file" -o "$OUT/$n"', new=_NEW),
    XDELTA: _EACH.format(known=_XDELTA, new=_NEW),
    BORG: 'cd "$NEW" && borg create --compression zstd,3 "$OUT/borg::new" .',
    RSYNC: 'rsync -a --delete --no-whole-file --inplace --stats "$NEW/" "$OUT/old/"',
}
_PREPARED = {
    BORG: 'borg init -e none "$OUT/borg" && cd "$OLD" && borg create --compression zstd,3 "$OUT/borg::old" .',
    RSYNC: 'cp -a "$OLD" "$OUT/old"',
}
BORG_ENVIRONMENT = {"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}
_SENT = re.compile(r"Total bytes (?:sent|received): ([\d,]+)")

Run = Callable[[str], object]
"""Runs a command of the shell that is not measured."""


def cases(out: Path, run: Run, names: tuple[str, ...] = NAMES) -> list[tuple[Case, Callable[[bytes], Mapping[str, Any]] | None]]:
    """The tools as cases, each with what reads its output; all write below ``out``, which is ``$OUT``."""
    return [(_case(name, out, run), _sent if name == RSYNC else None) for name in names]


def _case(name: str, out: Path, run: Run) -> Case:
    before = 0

    def prepare() -> None:
        nonlocal before
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        if name in _PREPARED:
            run(_PREPARED[name])
        before = size_of(out)

    program = name.partition(" ")[0]
    absent = "" if shutil.which(program) else f"no {program} here"
    return Case(
        name,
        _COMMANDS[name],
        before=prepare,
        after=lambda: shutil.rmtree(out, ignore_errors=True),
        produced=lambda: size_of(out) - before,
        absent=absent,
    )


def _sent(output: bytes) -> dict[str, int]:
    """The bytes that rsync sent and received."""
    return {"produced": sum(int(found.replace(",", "")) for found in _SENT.findall(output.decode()))}


def changed_files(old: Path, new: Path) -> list[str]:
    """The files of the new tree that the old one does not have with this name and content."""
    found = []
    for path in sorted(new.rglob("*")):
        name = path.relative_to(new)
        if path.is_file() and not ((old / name).is_file() and filecmp.cmp(old / name, path, shallow=False)):
            found.append(str(name))
    return found
