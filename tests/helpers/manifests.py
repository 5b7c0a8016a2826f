"""The Kubernetes manifests of the examples, and the containers of our image in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "kubernetes"


def documents(manifest: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(manifest.read_text()))


def containers(value: Any) -> Iterator[dict[str, Any]]:
    """All containers of our image, at any depth."""
    if isinstance(value, dict):
        if "/fps-bundle:" in str(value.get("image")):
            yield value
        value = list(value.values())
    for inner in value if isinstance(value, list) else ():
        yield from containers(inner)
