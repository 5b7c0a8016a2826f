"""Lists of a registry that come in pages (distribution spec, "Listing Tags" and "Listing Referrers"), of which none is endless."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bundler.errors import IntegrityError, StoreError
from bundler.format import units
from bundler.stores.registry.client import RegistryClient

MAX_PAGES = 1_000
"""Most pages of one list; some registries put no more than a hundred tags on one."""
MAX_BYTES = 64 << 20
"""Most bytes of all pages of one list."""
PATIENCE = 10
"""How many times `Limits.timeout` a list may take."""


class Deadline:
    """A time by which some work has to end."""

    def __init__(self, seconds: float, what: str) -> None:
        self._seconds = seconds
        self._what = what
        self._at = time.monotonic() + seconds

    def check(self) -> None:
        """Raises `StoreError` when the time is over."""
        if time.monotonic() > self._at:
            raise StoreError(
                f"{self._what} takes longer than {self._seconds:.0f} s",
                hint="Try again later, or with a longer --timeout.",
            )


def pages(client: RegistryClient, url: str, where: str, headers: dict[str, str]) -> Iterator[bytes]:
    """The pages of a list, each of which names the next one (RFC 8288).

    Raises `IntegrityError` for a list of too many pages or bytes, or one that leads in a circle, and `StoreError` for one that
    takes too long.
    """
    deadline = Deadline(client.limits.timeout * PATIENCE, f"{where}: reading the registry's list")
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
            raise IntegrityError(f"{where}: the registry's list leads back to a page that was read before")
        if len(seen) == MAX_PAGES:
            raise IntegrityError(f"{where}: the registry's list has more than {MAX_PAGES} pages")
        deadline.check()
