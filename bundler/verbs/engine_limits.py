"""Limits of engines, checked before a model or an engine is changed: the number of layers, and the settings of an image.

The figures are measured (docs/spec/fidelity.md). Docker's classic store refuses to load an image with more layers. The others
load it, and fail when a container of it is created or started. That is too late: the image has its name by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bundler.errors import EngineError, ModelError
from bundler.format import image_config
from bundler.ports import EngineInfo
from bundler.streams import Progress

PORTABLE = 125
"""Most layers of an image that every engine runs."""

_CLASSIC = 125
_CONTAINERD = 499
_PODMAN_4 = 128
_PODMAN_5 = 500
_FEWER = "Build the base image with fewer layers, for example in a multi-stage build."


def most_layers(engine: EngineInfo) -> int:
    """Return the most layers of an image that this engine can run."""
    if engine.image_store == "podman":
        major = engine.version.partition(".")[0]
        return _PODMAN_5 if major.isdigit() and int(major) >= 5 else _PODMAN_4
    return _CLASSIC if engine.image_store == "classic" else _CONTAINERD


def check_push(base_layers: int, engine: EngineInfo, progress: Progress) -> None:
    """Raise `ModelError` when the base leaves no room for a layer of state; warn when other engines have no room for one."""
    least, most = base_layers + 1, most_layers(engine)
    if least > most:
        raise ModelError(
            f"the base image has {base_layers} layers, and {_name(engine)} runs images of at most {most}: "
            "no room for the layer with the state",
            hint=_FEWER,
        )
    if least > PORTABLE:
        progress.warn(
            f"the base image has {base_layers} layers: the bundle can be applied here, but not with Docker's classic image store, "
            f"which takes {_CLASSIC} layers at most, state included"
        )


def check_settings(name: str, config: Mapping[str, Any]) -> None:
    """Raise `ModelError` when no engine accepts the ``config`` of an image, as its bundle could not be applied."""
    if fault := image_config.fault(config):
        raise ModelError(
            f"no engine accepts the settings of the image {name}: {fault}",
            hint="Correct the image, start the model from it, and push again.",
        )


def check_image(base_layers: int, new_layers: int, engine: EngineInfo) -> None:
    """Raise `EngineError` when base and new layers together exceed the engine's limit."""
    layers, most = base_layers + new_layers, most_layers(engine)
    if layers > most:
        raise EngineError(
            f"the new image would have {layers} layers, {base_layers} of the base and {new_layers} on top, "
            f"and {_name(engine)} runs images of at most {most}",
            hint=_FEWER,
        )


def warn_portable(base_layers: int, new_layers: int, progress: Progress) -> None:
    """Warn when an image has more layers than every engine runs."""
    layers = base_layers + new_layers
    if layers > PORTABLE:
        progress.warn(f"the new image has {layers} layers: Docker's classic image store runs images of at most {_CLASSIC}")


def _name(engine: EngineInfo) -> str:
    store = f" with the {engine.image_store} image store" if engine.image_store not in ("podman", "") else ""
    return f"{engine.name} {engine.version}".rstrip() + store
