"""Files that give rights, compared with those of the base."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

import pytest
from fakes import FakeEngine, RecordingProgress, directory, file, image, tree

from bundler.errors import PrivilegeError
from bundler.format.tar import Entry
from bundler.ports import Reader
from bundler.streams import Readable
from bundler.verbs import privileges

DEEP = ("/s", "/s/\udce9", "/s/\udce9/d")
SETUID = file("/s/\udce9/d/f", mode=0o4755)


class Telling:
    """Gives what it is asked for, and fails for a name that is not UTF-8, which Docker's archives tell wrong."""

    sees_all = True

    def __init__(self, inner: Reader) -> None:
        self.stat = inner.stat
        self._inner = inner

    def entries(self, exports: Sequence[str]) -> Generator[tuple[Entry, Readable]]:
        for export in exports:
            export.encode()
        yield from self._inner.entries(exports)


class TellingEngine(FakeEngine):
    def reader(self, container: Any, wanted: str) -> Reader:
        return Telling(super().reader(container, wanted))


def check(*base: tuple[Entry, bytes]) -> None:
    engine = TellingEngine(base_files=tree(*map(directory, DEEP), *base))
    privileges.check([SETUID[0]], partial(privileges.files_on_engine, image(), engine), RecordingProgress(), allowed=False)


def test_rights_that_the_base_gives_too_are_no_gain_however_its_directories_are_called() -> None:
    check(SETUID)


@pytest.mark.parametrize("base", [(), (file("/s/\udce9/d/f", mode=0o755),), (file("/s/\udce9/d/f", mode=0o6755),)])
def test_rights_that_the_base_does_not_give_there_are_refused(base: tuple[tuple[Entry, bytes], ...]) -> None:
    with pytest.raises(PrivilegeError, match="brings 1 file with more rights"):
        check(*base)
