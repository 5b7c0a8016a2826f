"""One hostile input: how it is made, and who must refuse it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostile.forge import Forgery, Signer


@dataclass(frozen=True)
class Case:
    """``make`` puts it into an empty directory and gives the reference; with ``opens_layers`` only who opens layers can tell."""

    name: str
    make: Callable[[Path, Signer | None], str]
    opens_layers: bool = False
    codes: tuple[int, ...] = (8,)
    """What the program may end with; 0 of a case that is there to show that not everything is refused."""


def archive(name: str, *, tag: str = "", opens_layers: bool = False, sound: bool = False, **changes: Any) -> Case:
    """A forgery in an archive, which is asked for by its name there, or as the only one."""

    def make(path: Path, sign: Signer | None) -> str:
        reference = Forgery(**changes).to_archive(path / "bundle.tar", sign)
        return f"oci-archive:{reference}{tag}" if tag else reference

    return Case(name, make, opens_layers, _codes(sound))


def layer(name: str, *, sound: bool = False, **changes: Any) -> Case:
    """A forgery that only its layers give away."""
    return archive(f"layer: {name}", opens_layers=True, sound=sound, **changes)


def layout(name: str, spoil: Callable[[Path], object], *, opens_layers: bool = False, sound: bool = False, **changes: Any) -> Case:
    """A forgery in a layout, of which ``spoil`` changes the files."""

    def make(path: Path, sign: Signer | None) -> str:
        reference = Forgery(**changes).to_layout(path / "layout", sign)
        spoil(path / "layout")
        return reference

    return Case(f"layout: {name}", make, opens_layers, _codes(sound))


def _codes(sound: bool) -> tuple[int, ...]:
    return (0,) if sound else (8,)


def setting(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    """An edit of a document that sets one field, or with ``...`` takes it away."""

    def edit(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        if to is ...:
            del content[path[-1]]
        elif callable(to):
            content[path[-1]] = to(content[path[-1]])
        else:
            content[path[-1]] = to

    return edit


def cases(*groups: Iterator[Case]) -> list[Case]:
    return [case for group in groups for case in group]
