"""Read a layer's table of contents from the store that has the layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bundler.errors import IntegrityError
from bundler.format import toc
from bundler.format.content import Descriptor, VerifyingReader
from bundler.format.toc import Item, Table
from bundler.streams import Stream, drain

OpenRange = Callable[[Descriptor, int, int], Stream]
"""Opens part of a blob: from an offset on, so many bytes."""


def items(blob: Descriptor, table: Table, open_range: OpenRange, where: str) -> Iterator[Item]:
    """Yield the items of a table; raises `IntegrityError` unless it is the one that the descriptor of the layer names.

    An iterator that is not used up has verified nothing.
    """
    expected = Descriptor(blob.media_type, table.digest, table.length)
    with VerifyingReader(open_range(blob, table.offset, table.length), expected, where) as stream:
        try:
            yield from toc.read(stream, table, where)
        except IntegrityError:
            drain(stream)  # reports a table damaged in transit by its digest
            raise
        drain(stream)
