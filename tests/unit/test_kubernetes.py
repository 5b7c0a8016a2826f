"""The manifests of the examples are valid, and their commands are commands of this version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
from manifests import EXAMPLES, containers, documents

from bundler.cli import main

MANIFESTS = sorted(EXAMPLES.glob("*.yaml"))
KUBERNETES = "1.33"
"""The first version with image volumes as beta."""


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
