"""Two private engines as two hosts, and a real registry between them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from privateengine import private_engine
from privatepodman import private_podman
from privateregistry import private_registry
from world import Host


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("FPS_BUNDLE_OFFLINE_TESTS") == "1":
        here = Path(__file__).parent
        for item in items:
            if here in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="FPS_BUNDLE_OFFLINE_TESTS=1"))


@pytest.fixture(scope="session")
def _hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    with private_engine() as first, private_engine() as second:
        here = Host(first, tmp_path_factory.mktemp("here"))
        there = Host(second, tmp_path_factory.mktemp("there"))
        here.build_model()
        there.take_image(here, "example-model:1.0")
        yield here, there


@pytest.fixture
def here(_hosts: tuple[Host, Host]) -> Iterator[Host]:
    """The host where the model learns."""
    yield _hosts[0]
    _hosts[0].clean()


@pytest.fixture
def there(_hosts: tuple[Host, Host]) -> Iterator[Host]:
    """The host to which the model goes; it has the base image and nothing else."""
    yield _hosts[1]
    _hosts[1].clean()


@pytest.fixture(scope="session")
def _podman(_hosts: tuple[Host, Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with private_podman() as address:
        host = Host(address, tmp_path_factory.mktemp("podman"))
        host.take_image(_hosts[0], "example-model:1.0")
        yield host


@pytest.fixture
def podman(_podman: Host) -> Iterator[Host]:
    """A host whose engine is Podman."""
    yield _podman
    _podman.clean()


@pytest.fixture(scope="session")
def registry() -> Iterator[str]:
    """The ``HOST:PORT`` of a registry that both hosts reach."""
    with private_registry() as address:
        yield address
