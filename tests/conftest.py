"""What all tests share: fixed randomness, an order that no test may depend on, and the counts at the end of the summary."""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import random
import signal
from itertools import count, groupby
from pathlib import Path
from typing import Any

import pytest
import tally
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import constants_from_module

import bundler

HERE = Path(__file__).parent
SHUFFLED = ("contract", "hostile", "unit")
"""Folders whose tests run in an order drawn from a seed; those of `integration` build on engines and run as they are written."""
ORDER = int(os.environ.get("FPS_BUNDLE_ORDER", "1"))

# The time that an example takes depends on the load of the machine: no deadline, and no health check that measures it.
_UNTIMED: dict[str, Any] = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("fixed", derandomize=True, max_examples=50, **_UNTIMED)
settings.register_profile("soak", max_examples=2000, print_blob=True, **_UNTIMED)
settings.load_profile(os.environ.get("FPS_BUNDLE_HYPOTHESIS", "fixed"))

_numbers = count()


def pytest_collection() -> None:
    """Let Hypothesis draw constants of all our modules, instead of those that happen to be loaded when a test begins."""
    constants = providers._local_constants  # empty so far, and sorted: the order of plain sets differs from process to process
    for module in pkgutil.walk_packages(bundler.__path__, "bundler."):
        if not module.name.endswith("__main__"):
            constants |= constants_from_module(importlib.import_module(module.name))
    providers._get_local_constants = lambda: constants


def pytest_collection_finish() -> None:
    """Let no garbage collection look at what stays to the end, such as thousands of tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees what another one has noted, nor leaves notes behind."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / f"state-{next(_numbers)}"))


@pytest.hookimpl(tryfirst=True)  # before xdist writes each group into its node ids
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Shuffle the modules of each folder and the tests of each module, and say which tests stay on one worker."""
    chosen = random.Random(ORDER)
    folders = [(folder, list(found)) for folder, found in groupby(items, _folder)]
    items.clear()
    for folder, found in sorted(folders, key=lambda it: it[0] != "integration"):  # what takes longest begins first
        modules = [list(tests) for _, tests in groupby(found, lambda item: item.path)]
        if folder in SHUFFLED:
            chosen.shuffle(modules)
            for tests in modules:
                chosen.shuffle(tests)
        items += [item for tests in modules for item in tests]
    items.sort(key=lambda item: not further_engine(item))  # these are the largest groups
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def further_engine(item: pytest.Item) -> str:
    """The engine that a test of an operation runs on, unless that is the first one, which all other tests use too."""
    engine = getattr(item, "callspec", None) and item.callspec.params.get("_hosts")  # type: ignore[attr-defined]
    return engine if isinstance(engine, str) and engine != "docker-20.10" else ""  # of no engine at all it is another mark


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(HERE).parts[0]


def _group(item: pytest.Item) -> str:
    """The tests that stay on one worker: those of a module, and all of one further engine, which is then started once."""
    if engine := further_engine(item):
        return engine
    names = {item.nodeid, *getattr(item, "fixturenames", ())}
    return "podman" if any("podman" in name for name in names) and _folder(item) == "integration" else str(item.path)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["tally"] = tally.dump()


class _Workers:
    """Takes the counts of workers over."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        tally.add(getattr(node, "workeroutput", {}).get("tally", {}))


def pytest_configure(config: pytest.Config) -> None:
    # A shell lets what it runs in the background ignore SIGINT, and nohup SIGHUP: so would every program that the tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    config.pluginmanager.register(_Workers())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = tally.lines()
    if lines:
        terminalreporter.section("counts")
    for line in lines:
        terminalreporter.line(line)
