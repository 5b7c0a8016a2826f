"""The parts of a split archive: found where they lie, and read without joining them (docs/format.md, "Split archive")."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bundler.errors import BundlerError, IntegrityError, NotFoundError, StoreError
from bundler.format import document
from bundler.format.partlist import SUFFIX, Part, PartList
from bundler.stores import verified, volumes
from bundler.stores.volumes import Volumes


class Parts(Volumes):
    """A split archive; when something read from it is wrong, all parts are hashed and the damaged ones named."""

    def __init__(self, path: Path, listed: PartList, places: Sequence[Path], where: str) -> None:
        super().__init__([volumes.of_file(place, part.size) for place, part in zip(places, listed.parts, strict=True)])
        self._path = path
        self._listed = listed
        self._places = places
        self._where = where

    def explain(self, error: BundlerError) -> BundlerError:
        damaged = [part for part, place in zip(self._listed.parts, self._places, strict=True) if not is_sound(place, part)]
        if not damaged or not isinstance(error, IntegrityError | StoreError):
            return error
        return IntegrityError(f"{self._where}: {_named('damaged', damaged)}", hint=_anew(self._path, self._listed, damaged))


def list_path(path: Path) -> Path:
    """Where the list of the parts of an archive is."""
    return path.with_name(path.name + SUFFIX)


def read_list(path: Path) -> PartList:
    """The list of the parts of an archive; raises ``FileNotFoundError`` where there is none."""
    volumes.plain_size(list_path(path))
    with list_path(path).open("rb") as file:
        return PartList.from_bytes(file.read(document.MAX_SIZE + 1), str(list_path(path)))


def find(path: Path, elsewhere: Sequence[Path], where: str) -> Parts:
    """The parts of an archive, beside its list or in other directories.

    Raises ``FileNotFoundError`` where there is no list, and one error that names all parts that are missing or of
    the wrong size.
    """
    listed = read_list(path)
    directories = (path.parent, *elsewhere)
    places = {part: _place(part, directories) for part in listed.parts}
    absent = [part for part, place in places.items() if place is None]
    missing = [part for part in absent if not any((directory / part.name).is_file() for directory in directories)]
    wrong = [part for part in absent if part not in missing]
    if absent:
        told = "; ".join(_named(how, parts) for how, parts in (("missing", missing), ("of the wrong size", wrong)) if parts)
        raise (NotFoundError if missing else IntegrityError)(
            f"{where}: {told}",
            hint=f"Bring them beside {list_path(path)}, or say where they are: --parts-from DIR. {_anew(path, listed, absent)}",
        )
    return Parts(path, listed, [place for place in places.values() if place], where)


def is_sound(place: Path, part: Part) -> bool:
    """Whether a file is this part, byte for byte."""
    return verified.is_sound(place.resolve(), part.digest, medium=True)


def _place(part: Part, directories: Sequence[Path]) -> Path | None:
    paths = (directory / part.name for directory in directories)
    return next((path for path in paths if path.is_file() and path.stat().st_size == part.size), None)


def _named(how: str, parts: Sequence[Part]) -> str:
    names = ", ".join(part.name for part in parts)
    return f"the part {names} is {how}" if len(parts) == 1 else f"the parts {names} are {how}"


def _anew(path: Path, listed: PartList, parts: Sequence[Part]) -> str:
    chosen = "".join(f" --part {part.number}" for part in parts)
    target = path if path.suffix == ".tar" else f"oci-archive:{path}"
    command = f"fps-bundle copy NAME@{listed.bundle} {target} --split {listed.part_size}{chosen}"
    return f"To make them anew where the bundle is: {command}"
