"""Paginated lists of a registry, with limits (distribution spec, "Listing Tags" and "Listing Referrers")."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bundler.errors import IntegrityError, StoreError
from bundler.format import units
from bundler.stores.registry.client import RegistryClient

MAX_PAGES = 1_000
"""Most pages of one list; some registries return at most a hundred tags per page."""
MAX_BYTES = 64 << 20
"""Most bytes of all pages of one list."""
PATIENCE = 10
"""Factor on `Limits.timeout` for a whole list."""


class TimeLimit:
    """A time limit for one task."""

    def __init__(self, seconds: float, what: str) -> None:
        self._seconds = seconds
        self._what = what
        self._at = time.monotonic() + seconds

    def check(self) -> None:
        """Raises `StoreError` after the time limit."""
        if time.monotonic() > self._at:
            raise StoreError(
                f"{self._what} takes longer than {self._seconds:.0f} s",
                hint="Try again later, or with a longer --timeout.",
            )


def read_pages(client: RegistryClient, url: str, where: str, headers: dict[str, str]) -> Iterator[bytes]:
    """Yield the pages of a list; each page links to the next one (RFC 8288).

    Raises `IntegrityError` for a list with too many pages or bytes, or with a loop, and `StoreError` after the time limit.
    """
    limit = TimeLimit(client.limits.timeout * PATIENCE, f"{where}: reading the registry's list")
    seen: set[str] = set()
    size = 0
    while True:
        seen.add(url)
        response, data = client.read_document(url, where, headers)
        size += len(data)
        if size > MAX_BYTES:
            raise IntegrityError(f"{where}: the registry's list has more than {units.shown(MAX_BYTES)}")
        yield data
        following = response.links.get("next", {}).get("url")
        if not following:
            return
        url = client.follow(following, url)
        if url in seen:
            raise IntegrityError(f"{where}: the registry's list links back to a page that was already read")
        if len(seen) == MAX_PAGES:
            raise IntegrityError(f"{where}: the registry's list has more than {MAX_PAGES} pages")
        limit.check()
