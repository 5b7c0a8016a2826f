"""The container engines that the integration tests run on, each private to a test run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial

from privateengine import private_engine
from privatepodman import private_podman

Start = Callable[[], AbstractContextManager[str]]
"""Runs an engine for the length of a block; gives its address for ``DOCKER_HOST``."""

ENGINES: Mapping[str, Start] = {
    "docker-20.10": private_engine,
    "podman-4.3": private_podman,
    "docker-26.1": partial(private_engine, suite="trixie"),
    "docker-26.1-containerd": partial(private_engine, suite="trixie", containerd_store=True),
    "podman-5.4": partial(private_podman, suite="trixie"),
    "docker-28.5": partial(private_engine, suite="sid"),
    "docker-28.5-containerd": partial(private_engine, suite="sid", containerd_store=True),
    "podman-5.8": partial(private_podman, suite="sid"),
}
"""By product, version, and what keeps its images where that is not the engine itself."""

DEFAULT = "docker-20.10"
"""The engine of tests that say nothing about engines."""

CHOSEN = os.environ.get("FPS_BUNDLE_ENGINES", "docker-20.10 podman-4.3 docker-26.1-containerd").split()
"""The engines of tests that are marked with an ``operation``; ``all`` stands for every one."""

if CHOSEN == ["all"]:
    CHOSEN = list(ENGINES)
