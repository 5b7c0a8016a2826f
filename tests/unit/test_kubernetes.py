"""The manifests of the examples are valid, and their commands are commands of this version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from bundler.cli import main

MANIFESTS = sorted((Path(__file__).resolve().parent.parent.parent / "examples" / "kubernetes").glob("*.yaml"))
KUBERNETES = "1.33"
"""The first version with image volumes as beta."""


def documents(manifest: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(manifest.read_text()))


def containers(value: Any) -> Iterator[dict[str, Any]]:
    """All containers of our image, at any depth."""
    if isinstance(value, dict):
        if "/fps-bundle:" in str(value.get("image")):
            yield value
        for inner in value.values():
            yield from containers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from containers(inner)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_is_valid(manifest: Path) -> None:
    for document in documents(manifest):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_validation_refuses_an_unknown_field() -> None:
    (job, _) = documents(next(path for path in MANIFESTS if path.name == "publish.yaml"))
    job["spec"]["template"]["spec"]["runAsRoot"] = True
    with pytest.raises(kubernetes_validate.ValidationError, match="runAsRoot"):
        kubernetes_validate.validate(job, KUBERNETES, strict=True)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_the_commands_of_a_manifest_exist(manifest: Path) -> None:
    group: Any = typer.main.get_command(main.app)
    for container in containers(documents(manifest)):
        if "command" not in container:
            name, *arguments = container["args"]
            group.commands[name].make_context(name, arguments)
