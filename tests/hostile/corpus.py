"""All hostile inputs, and beside them sound ones, so that a refusal means something."""

from __future__ import annotations

from hostile import documents, layers, registries, stores
from hostile.case import Case, cases


def corpus() -> list[Case]:
    """Every case once; names are unique."""
    return cases(
        documents.truths(),
        documents.tricks(),
        documents.manifests(),
        documents.indexes(),
        documents.claims(),
        layers.truths(),
        layers.entries(),
        layers.claims(),
        layers.several(),
        layers.dialects(),
        layers.streams(),
        layers.many(),
        stores.archives(),
        stores.layouts(),
        registries.registries(),
    )
