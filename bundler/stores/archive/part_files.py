"""The parts of a split archive: found in directories, and read without joining them (docs/spec/format.md, "Split archive")."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from bundler.errors import BundlerError, IntegrityError, NotFoundError, StoreError, UsageError
from bundler.format import strict_json
from bundler.format.content import Digest
from bundler.format.part_list import SUFFIX, Part, PartList
from bundler.stores.archive import multi_file
from bundler.stores.archive.multi_file import Volumes
from bundler.stores.layout import verified_cache
from bundler.streams import Progress


class PartVolumes(Volumes):
    """A split archive in files; after an error all parts are hashed, to name the damaged ones."""

    def __init__(self, path: Path, listed: PartList, places: Sequence[Path], where: str) -> None:
        super().__init__([multi_file.of_file(place, part.size) for place, part in zip(places, listed.parts, strict=True)])
        self._path = path
        self._listed = listed
        self._places = places
        self._where = where

    def check(self, manifests: Collection[Digest]) -> None:
        """Raise `IntegrityError` when the list belongs to another archive."""
        if self._listed.bundle not in manifests:
            raise self.explain(self._other())

    def explain(self, error: BundlerError) -> BundlerError:
        damaged = [part for part, place in zip(self._listed.parts, self._places, strict=True) if not is_sound(place, part)]
        if not damaged or not isinstance(error, IntegrityError | StoreError):
            return error
        if len(damaged) == len(self._listed.parts) > 1:
            return self._other()
        return IntegrityError(f"{self._where}: {_named('damaged', damaged)}", hint=_anew(self._path, self._listed, damaged))

    def _other(self) -> IntegrityError:
        return IntegrityError(
            f"{self._where}: {list_path(self._path)} lists the parts of another archive, of the bundle {self._listed.bundle}",
            hint="Copy the list that was made with these parts.",
        )


class WholeWithParts(Volumes):
    """A whole archive with a list of parts beside it, which must belong to the same archive."""

    def __init__(self, path: Path, size: int, listed: PartList) -> None:
        super().__init__([multi_file.of_file(path, size)])
        self._path = path
        self._listed = listed

    def check(self, manifests: Collection[Digest]) -> None:
        """Raise `UsageError` when the file and the parts are different archives, as either could be meant."""
        if self._listed.bundle not in manifests:
            raise UsageError(
                f"{self._path} and the parts in {list_path(self._path).name} are different archives: "
                f"the file does not hold the bundle {self._listed.bundle}",
                hint="Move one of them to another directory, or remove it.",
            )


def list_path(path: Path) -> Path:
    """Return the path of the list of an archive's parts."""
    return path.with_name(path.name + SUFFIX)


def read_list(path: Path) -> PartList:
    """Read the list of an archive's parts; raises ``FileNotFoundError``, and `IntegrityError` for an invalid list."""
    multi_file.plain_size(list_path(path))
    with list_path(path).open("rb") as file:
        listed = PartList.from_bytes(file.read(strict_json.MAX_SIZE + 1), str(list_path(path)))
    if listed.stem.casefold() != path.name.casefold():  # some USB sticks change the case of letters
        raise IntegrityError(
            f"{list_path(path)} lists the parts of {listed.stem}, not of {path.name}",
            hint=f"Name {listed.stem}, or copy the list that was made with the parts of {path.name}.",
        )
    return listed


def beside(path: Path, size: int, elsewhere: Sequence[Path], progress: Progress) -> Volumes:
    """Return a whole archive that may have parts beside it; reports that the parts are not read."""
    whole = Volumes([multi_file.of_file(path, size)])
    try:
        listed = read_list(path)
    except FileNotFoundError:
        if elsewhere:
            progress.note(f"reading {path}: it is a whole archive, so --parts-from is not used")
        return whole
    except (BundlerError, OSError) as error:
        progress.note(f"reading {path}: the list of parts beside it is not used: {error}")
        return whole
    progress.note(f"reading {path}, not the parts listed in {list_path(path).name}")
    return WholeWithParts(path, size, listed)


def refuse_list(path: Path) -> None:
    """Raise `StoreError` when a new file would lie beside the parts of another archive."""
    if list_path(path).exists():
        raise StoreError(
            f"{list_path(path)} exists: {path.name} would lie beside the parts of another archive",
            hint=f"Name another file, or remove {path.name}.* first.",
        )


def find(path: Path, elsewhere: Sequence[Path], where: str) -> PartVolumes:
    """Find the parts of an archive, beside its list or in other directories.

    Raises ``FileNotFoundError`` without a list, and one error for all parts that are missing or of the wrong size.
    """
    listed = read_list(path)
    directories = (path.parent, *elsewhere)
    places = {part: _place(part, directories) for part in listed.parts}
    absent = [part for part, place in places.items() if place is None]
    missing = [part for part in absent if not any((directory / part.name).is_file() for directory in directories)]
    wrong = [part for part in absent if part not in missing]
    if absent:
        faults = "; ".join(_named(how, parts) for how, parts in (("missing", missing), ("of the wrong size", wrong)) if parts)
        raise (NotFoundError if missing else IntegrityError)(
            f"{where}: {faults}",
            hint=f"Put them beside {list_path(path)}, or add --parts-from DIR. {_anew(path, listed, absent)}",
        )
    return PartVolumes(path, listed, [place for place in places.values() if place], where)


def is_sound(place: Path, part: Part) -> bool:
    """Whether a file has exactly the content of a part."""
    return verified_cache.is_sound(place.resolve(), part.digest, medium=True)


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
    return f"To make them again where the bundle is: {command}"
