"""What was applied here, and signed: files that make sure that nobody goes back, or uses a number twice, unawares."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from bundler.errors import BundlerError, TrustError, UsageError
from bundler.format import strict_json
from bundler.format.content import Digest
from bundler.format.metadata import Sha256, now
from bundler.format.statement import MAX_SEQUENCE
from bundler.localfs import private_file, state_directory
from bundler.localfs.atomic_file import sweep, write_file
from bundler.trust.policy import Line, Voucher, check_sequence

WAIT = 60
"""Seconds for which another process may hold the files; it does so only while it gives an image its name."""

Number = Annotated[int, Field(strict=True, ge=0, le=MAX_SEQUENCE)]


class _Value(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, arbitrary_types_allowed=True
    )


class Applied(_Value):
    """The newest bundle of one line that was applied."""

    title: str
    data_set_uuid: str = Field(alias="dataSetUUID")
    principal: str
    repository: str
    sequence: Number
    digest: Sha256
    at: str

    @property
    def line(self) -> Line:
        return Line(self.title, self.data_set_uuid, self.principal, self.repository)


class Downgrade(_Value):
    """An older bundle that was applied all the same, and why."""

    digest: Sha256
    refusals: tuple[str, ...]
    reason: str
    at: str


class _Book(_Value):
    version: Annotated[int, Field(strict=True, ge=1, le=1)] = 1
    applied: tuple[Applied, ...] = ()
    downgrades: tuple[Downgrade, ...] = ()


class _LastUsed(_Value):
    version: Annotated[int, Field(strict=True, ge=1, le=1)] = 1
    sequence: Number = 0


_File = TypeVar("_File", _Book, _LastUsed)


class Ledger:
    """The file with the newest bundle of each line; one that is damaged lets nothing pass."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "applied.json"

    def check(self, claims: Sequence[Applied]) -> None:
        """Raises `TrustError` when a bundle is older than what was applied."""
        self._refuse(self._older(self._read(), claims))

    def prepare(self) -> None:
        """Raises `StoreError` or `TrustError` where nothing could be written down, before anything is changed."""
        with state_directory.hold("file", self._path.name, WAIT):
            self._read()

    def new_signers(self, claims: Sequence[Applied]) -> list[str]:
        """The signers of whom nothing was applied yet as the same model to the same repository."""
        known = {applied.line for applied in self._read().applied}
        return [claim.principal for claim in claims if claim.line not in known]

    @contextmanager
    def advancing(self, claims: Sequence[Applied], reason: str | None) -> Iterator[None]:
        """Write a bundle down, and let nobody else do so for the length of the block, in which it gets its name.

        With a ``reason`` an older one passes, and that is written down. Raises `TrustError` like `check`.
        """
        with state_directory.hold("file", self._path.name, WAIT):
            book = self._read()
            older = self._older(book, claims)
            if reason is None:
                self._refuse(older)
            self._write(_with(book, claims, older, reason or ""))
            yield

    def _older(self, book: _Book, claims: Sequence[Applied]) -> tuple[str, ...]:
        newest = {applied.line: (applied.sequence, applied.digest) for applied in book.applied}
        refusals = (check_sequence(it.line, it.sequence, it.digest, newest.get(it.line)) for it in claims)
        return tuple(refusal for refusal in refusals if refusal)

    def _refuse(self, refusals: Sequence[str]) -> None:
        if refusals:
            raise TrustError(
                f"the bundle may not follow what was here: {'; '.join(refusals)}",
                hint='If it shall all the same: --allow-downgrade "WHY", which is written down.',
            )

    def _read(self) -> _Book:
        return _load(self._path, _Book, "It says which bundles must not come back. To begin anew, and to forget that")

    def _write(self, book: _Book) -> None:
        _save(self._path, book)


def claims(vouchers: Sequence[Voucher], title: str, data_set_uuid: str | None, repository: str, digest: Digest) -> list[Applied]:
    """What applying a bundle means for each who vouches for it."""
    return [
        Applied(
            title=title,
            data_set_uuid=data_set_uuid or "",
            principal=voucher.principal,
            repository=repository,
            sequence=voucher.sequence,
            digest=digest,
            at=now(),
        )
        for voucher in vouchers
    ]


def next_sequence(directory: Path, wanted: int | None) -> int:
    """The number of a new signature, which is written down: the one that is ``wanted``, else one above all before it.

    It is at least the Unix time, so that two hosts with one key keep an order.
    """
    path = directory / "sequence.json"
    with state_directory.hold("file", path.name, WAIT):
        last = _load(path, _LastUsed, "It has the sequence number of the last signature. To begin anew").sequence
        sequence = max(int(time.time()), last + 1) if wanted is None else wanted
        if not 0 <= sequence <= MAX_SEQUENCE:
            raise UsageError(f"{sequence} is no sequence number from 0 to {MAX_SEQUENCE}", hint="Name one with --sequence.")
        _save(path, _LastUsed(sequence=max(sequence, last)))
    return sequence


def _with(book: _Book, claims: Sequence[Applied], older: tuple[str, ...], reason: str) -> _Book:
    newest = {applied.line: applied for applied in book.applied}
    for claim in claims:
        if claim.line not in newest or newest[claim.line].sequence < claim.sequence:
            newest[claim.line] = claim
    downgrade = [Downgrade(digest=claims[0].digest, refusals=older, reason=reason, at=now())] if older else []
    return _Book(applied=tuple(newest.values()), downgrades=(*book.downgrades, *downgrade))


def _load(path: Path, kind: type[_File], advice: str) -> _File:
    """A file of ours, an empty one where there is none yet; raises `TrustError` for a damaged one."""
    try:
        data = private_file.read_private(path, "the file")
    except FileNotFoundError:
        return kind()
    try:
        return kind.model_validate(strict_json.load(data, str(path)))
    except (BundlerError, ValidationError) as error:
        raise TrustError(
            f"{path} is damaged, so nobody can tell what may follow", hint=f"{advice}: mv {path} {path}.damaged"
        ) from error


def _save(path: Path, content: BaseModel) -> None:
    data = json.dumps(content.model_dump(mode="json", by_alias=True), indent=1).encode() + b"\n"
    if len(data) > strict_json.MAX_SIZE:
        raise TrustError(f"{path} would become longer than {strict_json.MAX_SIZE} bytes", hint=f"Look what fills it: less {path}")
    private_file.make_directory(path.parent, may_be_link=True)
    sweep(path.parent)
    write_file(path, data, 0o600)
