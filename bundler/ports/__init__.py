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
    ReplacingEngine,
    Routing,
)
from bundler.ports.image_store import ImageStore, ImageUpload
from bundler.ports.model import Model
from bundler.ports.place import Entry, EntryKind, Leftover, Place, Removal, Removed, RemovedBundle
from bundler.ports.reader import Reader, Surveyor
from bundler.ports.signature import Signer, Verifier
from bundler.ports.store import ManifestLookup, Recompressing, Renamable, Spool, Store, Upload
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
    "Entry",
    "EntryKind",
    "HealthCheck",
    "Image",
    "ImageCreation",
    "ImageLookup",
    "ImageStore",
    "ImageUpload",
    "Leftover",
    "ManifestLookup",
    "Model",
    "Named",
    "PathInfo",
    "Pausing",
    "Place",
    "Reader",
    "Recompressing",
    "Removal",
    "Removed",
    "RemovedBundle",
    "Renamable",
    "ReplacingEngine",
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
