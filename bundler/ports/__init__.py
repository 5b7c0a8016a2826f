"""The interfaces between the verbs and the adapters: engine, reader, model, store, signature."""

from __future__ import annotations

from bundler.ports.engine import (
    ContainerFiles,
    ContainerLookup,
    ContainerReplacement,
    ContainerRuns,
    Engine,
    EngineDescription,
    ImageCreation,
    ImageLookup,
    Pausing,
    Routing,
)
from bundler.ports.image_store import ImageStore, ImageUpload
from bundler.ports.model import Model
from bundler.ports.reader import Reader, Surveyor
from bundler.ports.signature import Signer, Verifier
from bundler.ports.store import Recompressing, Spool, Store, Upload
from bundler.ports.values import (
    Checked,
    Container,
    Displaced,
    EngineInfo,
    HealthCheck,
    Image,
    Named,
    PathInfo,
    RunOptions,
    Seen,
)

__all__ = [
    "Checked",
    "Container",
    "ContainerFiles",
    "ContainerLookup",
    "ContainerReplacement",
    "ContainerRuns",
    "Displaced",
    "Engine",
    "EngineDescription",
    "EngineInfo",
    "HealthCheck",
    "Image",
    "ImageCreation",
    "ImageLookup",
    "ImageStore",
    "ImageUpload",
    "Model",
    "Named",
    "PathInfo",
    "Pausing",
    "Reader",
    "Recompressing",
    "Routing",
    "RunOptions",
    "Seen",
    "Signer",
    "Spool",
    "Store",
    "Surveyor",
    "Upload",
    "Verifier",
]
