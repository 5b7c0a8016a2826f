"""Rollback protection: files with the newest applied bundle of each signer, and with the last sequence number used to sign."""

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
from bundler.trust.policy import RollbackKey, SignedBundle, TrustedSigner, check_sequence

WAIT = 60
"""Seconds to wait for another process that holds the files; it does so only while it tags an image."""

Number = Annotated[int, Field(strict=True, ge=0, le=MAX_SEQUENCE)]


class _Value(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, arbitrary_types_allowed=True
    )


class Applied(_Value):
    """The newest applied bundle of one `RollbackKey`."""

    title: str
    data_set_uuid: str = Field(alias="dataSetUUID")
    principal: str
    repository: str
    sequence: Number
    digest: Sha256
    at: str
    signed: str = ""

    @property
    def key(self) -> RollbackKey:
        return RollbackKey(self.title, self.data_set_uuid, self.principal, self.repository)

    @property
    def bundle(self) -> SignedBundle:
        return SignedBundle(self.sequence, self.digest, self.signed)


class Downgrade(_Value):
    """An older bundle that was applied with ``--allow-downgrade``, and the reason."""

    digest: Sha256
    refusals: tuple[str, ...]
    reason: str
    at: str


class _Records(_Value):
    version: Annotated[int, Field(strict=True, ge=1, le=1)] = 1
    applied: tuple[Applied, ...] = ()
    downgrades: tuple[Downgrade, ...] = ()


class _LastUsed(_Value):
    version: Annotated[int, Field(strict=True, ge=1, le=1)] = 1
    sequence: Number = 0


_File = TypeVar("_File", _Records, _LastUsed)


class RollbackRecords:
    """The file with the newest applied bundle of each `RollbackKey`; while it is damaged, every bundle is refused."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "applied.json"

    def check(self, records: Sequence[Applied]) -> None:
        """Raise `TrustError` when a bundle is older than the newest applied one."""
        self._refuse(self._older(self._read(), records))

    def prepare(self) -> None:
        """Raise `StoreError` or `TrustError` when the file cannot be written or read; called before anything is changed."""
        with state_directory.hold("file", self._path.name, WAIT):
            self._read()

    def new_signers(self, records: Sequence[Applied]) -> list[str]:
        """Return the signers without a record for the same model and repository."""
        keys = {applied.key for applied in self._read().applied}
        return [record.principal for record in records if record.key not in keys]

    @contextmanager
    def advancing(self, records: Sequence[Applied], reason: str | None) -> Iterator[None]:
        """Record a bundle and hold the lock of the file during the block, in which the image is tagged.

        With a ``reason`` an older bundle is accepted, and the downgrade is recorded. Raises `TrustError` as `check` does.
        """
        with state_directory.hold("file", self._path.name, WAIT):
            file = self._read()
            older = self._older(file, records)
            if reason is None:
                self._refuse(older)
            self._write(_with(file, records, older, reason or ""))
            yield

    def _older(self, file: _Records, records: Sequence[Applied]) -> tuple[str, ...]:
        newest = {applied.key: applied.bundle for applied in file.applied}
        refusals = (check_sequence(it.key, it.bundle, newest.get(it.key)) for it in records)
        return tuple(refusal for refusal in refusals if refusal)

    def _refuse(self, refusals: Sequence[str]) -> None:
        if refusals:
            raise TrustError(
                f"refusing to downgrade: {'; '.join(refusals)}",
                hint="To apply it anyway, use --allow-downgrade REASON (recorded).",
            )

    def _read(self) -> _Records:
        return _load(self._path, _Records, "It protects against downgrades. To start a new one, without the recorded protection")

    def _write(self, file: _Records) -> None:
        _save(self._path, file)


def records_of(
    signers: Sequence[TrustedSigner], title: str, data_set_uuid: str | None, repository: str, digest: Digest
) -> list[Applied]:
    """Return the records of a bundle that is about to be applied, one for each trusted signer."""
    return [
        Applied(
            title=title,
            data_set_uuid=data_set_uuid or "",
            principal=signer.principal,
            repository=repository,
            sequence=signer.sequence,
            digest=digest,
            at=now(),
            signed=signer.signed,
        )
        for signer in signers
    ]


def next_sequence(directory: Path, wanted: int | None) -> int:
    """Return and record the sequence number of a new signature: ``wanted``, or one above the last.

    By default it is at least the Unix time, so that numbers also increase when two hosts share a key.
    """
    path = directory / "sequence.json"
    with state_directory.hold("file", path.name, WAIT):
        last = _load(path, _LastUsed, "It has the sequence number of the last signature. To start a new one").sequence
        sequence = max(int(time.time()), last + 1) if wanted is None else wanted
        if not 0 <= sequence <= MAX_SEQUENCE:
            raise UsageError(f"{sequence} is not a sequence number from 0 to {MAX_SEQUENCE}", hint="Set one with --sequence.")
        _save(path, _LastUsed(sequence=max(sequence, last)))
    return sequence


def _with(file: _Records, records: Sequence[Applied], older: tuple[str, ...], reason: str) -> _Records:
    newest = {applied.key: applied for applied in file.applied}
    for record in records:
        if record.key not in newest or newest[record.key].sequence < record.sequence:
            newest[record.key] = record
    downgrade = [Downgrade(digest=records[0].digest, refusals=older, reason=reason, at=now())] if older else []
    return _Records(applied=tuple(newest.values()), downgrades=(*file.downgrades, *downgrade))


def _load(path: Path, kind: type[_File], advice: str) -> _File:
    """Return the content of one of our files, empty when there is none yet; raises `TrustError` for a damaged one."""
    try:
        data = private_file.read_private(path, "the file")
    except FileNotFoundError:
        return kind()
    try:
        return kind.model_validate(strict_json.load(data, str(path)))
    except (BundlerError, ValidationError) as error:
        raise TrustError(f"{path} is damaged", hint=f"{advice}:", command=f"mv {path} {path}.damaged") from error


def _save(path: Path, content: BaseModel) -> None:
    data = json.dumps(content.model_dump(mode="json", by_alias=True), indent=1).encode() + b"\n"
    if len(data) > strict_json.MAX_SIZE:
        raise TrustError(
            f"{path} would become longer than {strict_json.MAX_SIZE} bytes", hint="Look at its entries:", command=f"less {path}"
        )
    private_file.make_directory(path.parent, may_be_link=True)
    sweep(path.parent)
    write_file(path, data, 0o600)
