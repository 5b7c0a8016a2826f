"""Tags of pushes from a template, so that each push gets its own tag."""

from __future__ import annotations

import socket
import string
from dataclasses import dataclass

from bundler.bundle import Bundle
from bundler.errors import UsageError
from bundler.format.reference import image_tag

FIELDS = ("version", "date", "time", "digest", "title", "hostname")
"""What a template can contain in braces; date and time are those of the bundle's creation, in UTC."""


@dataclass(frozen=True)
class TagTemplate:
    """A checked template such as ``{version}-{date}``."""

    text: str

    def tag(self, bundle: Bundle) -> str:
        """Return the tag of a bundle; characters that a tag cannot have become ``-``."""
        metadata = bundle.metadata
        date, _, time = metadata.created.partition("T")
        values = {
            "version": metadata.model.version,
            "date": date,
            "time": time.rstrip("Z").replace(":", ""),
            "digest": bundle.digest.short,
            "title": metadata.model.title,
            "hostname": metadata.source.host_name or socket.gethostname(),
        }
        return image_tag("".join(text + (values[field] if field else "") for text, field in _parts(self.text)))


def parse(text: str) -> TagTemplate:
    """Read a template; raises `UsageError` for an unknown field, and for a template without any field."""
    parts = _parts(text)
    known = ", ".join(f"{{{field}}}" for field in FIELDS)
    if unknown := [field for _, field in parts if field and field not in FIELDS]:
        raise UsageError(
            f"the tag template {text[:200]!r} has the unknown field {{{unknown[0][:50]}}}", hint=f"Known fields: {known}"
        )
    if not any(field for _, field in parts):
        raise UsageError(f"the tag template {text[:200]!r} has no field", hint=f"Add one of {known}, or name the tag in DEST.")
    return TagTemplate(text)


def _parts(text: str) -> list[tuple[str, str]]:
    """Return each literal text and the field behind it, which is empty at the end."""
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise UsageError(
            f"the tag template {text[:200]!r} is invalid: {error}", hint="Write fields in braces: {version}-{date}"
        ) from None
    # A conversion or a format, as in {date!r:>9}, is part of an unknown field.
    return [
        (literal, f"{field or '?'}" + (f"!{how}" if how else "") + (f":{spec}" if spec else "") if field is not None else "")
        for literal, field, spec, how in parsed
    ]
