"""Stores opened as the command line opens them."""

from __future__ import annotations

from bundler.api import stores
from bundler.api.stores import StoreOptions
from bundler.format import reference
from bundler.ports import Store


def store(name: str) -> Store:
    """The store that is written so."""
    return stores.open_plain(reference.parse(name), StoreOptions())
