"""Two private engines as two hosts, of each kind that a test runs on, and a real registry between them."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from engines import CHOSEN, DEFAULT, ENGINES
from privateregistry import private_registry
from world import Host

REPORT: dict[str, dict[str, dict[str, int]]] = {}
"""How many tests passed, failed or were skipped, by engine and operation."""

VERSIONS: dict[str, str] = {}
"""What each engine says that it is."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("FPS_BUNDLE_OFFLINE_TESTS") == "1":
        here = Path(__file__).parent
        for item in items:
            if here in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="FPS_BUNDLE_OFFLINE_TESTS=1"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count what became of each operation on each engine."""
    report = yield
    marker = item.get_closest_marker("operation")
    engine = item.callspec.params["_hosts"] if marker else None  # type: ignore[attr-defined]
    if marker and engine in ENGINES and (report.when == "call" or report.outcome != "passed"):
        counts = REPORT.setdefault(engine, {}).setdefault(marker.args[0], {})
        counts[report.outcome] = counts.get(report.outcome, 0) + 1
    return report


def pytest_sessionfinish() -> None:
    """Write the counts of this worker down for ``tools/enginesdoc.py``."""
    if REPORT and (directory := os.environ.get("FPS_BUNDLE_ENGINE_REPORT")):
        path = Path(directory) / f"{os.environ.get('PYTEST_XDIST_WORKER', 'only')}.json"
        path.write_text(json.dumps({"versions": VERSIONS, "operations": REPORT}, indent=1))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that is marked with an ``operation`` runs on every chosen engine, or ``only`` on those so named; any other on one."""
    if "_hosts" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("operation")
        engines = [name for name in CHOSEN if marker.kwargs.get("only", "") in name] if marker else [DEFAULT]
        metafunc.parametrize("_hosts", engines, indirect=True, scope="session")


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of saved images that all workers share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def builder(saved_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The host where images are built, for all others."""
    with ENGINES[DEFAULT]() as address:
        host = Host(address, tmp_path_factory.mktemp("builder"))
        host.take_model(saved_models)
        yield host


@pytest.fixture(scope="session")
def _first_hosts(builder: Host, saved_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    with ENGINES[DEFAULT]() as address:
        there = Host(address, tmp_path_factory.mktemp("there"))
        there.take_model(saved_models)
        VERSIONS[DEFAULT] = there.api.version()["Version"]
        yield builder, there


@pytest.fixture(scope="session")
def _hosts(
    request: pytest.FixtureRequest, saved_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Host, Host]]:
    engine = getattr(request, "param", DEFAULT)  # a test that asks for a host by the name of its fixture has no parameter
    if engine == DEFAULT:
        yield request.getfixturevalue("_first_hosts")
        return
    with ENGINES[engine]() as first, ENGINES[engine]() as second:
        here, there = Host(first, tmp_path_factory.mktemp("here")), Host(second, tmp_path_factory.mktemp("there"))
        for host in (here, there):
            host.take_model(saved_models)
        VERSIONS[engine] = here.api.version()["Version"]
        yield here, there


@pytest.fixture
def on_first_engine(request: pytest.FixtureRequest) -> bool:
    """Whether a test runs on the engine that all tests run on, where it makes all its repetitions."""
    return bool(request.node.callspec.params["_hosts"] == DEFAULT)


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
def _podman(saved_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with ENGINES["podman-4.3"]() as address:
        host = Host(address, tmp_path_factory.mktemp("podman"))
        host.take_model(saved_models)
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
