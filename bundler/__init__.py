"""fps-bundle: move the state of a model container between hosts as an OCI artifact.

This module is the Python API; docs/user/api.md describes it. Names are imported on first use.
"""

TYPE_CHECKING = False  # typing is slow to load, and signals are not handled before this module is loaded
if TYPE_CHECKING:
    from bundler.api.engines import MigratorOptions, connect_engine
    from bundler.api.images import apply_to
    from bundler.api.processes import connect_process
    from bundler.api.stores import StoreOptions, open_store
    from bundler.api.trust import host_admission, load_policy
    from bundler.api.verbs import (
        Inspection,
        Verification,
        apply,
        copy,
        extract,
        ingest,
        inspect,
        push,
        replace,
        sign,
        undo_replace,
        verify,
    )
    from bundler.bundle import Bundle
    from bundler.errors import (
        AuthorizationError,
        BaseMismatchError,
        BundlerError,
        BusyError,
        EngineError,
        IntegrityError,
        ModelError,
        NoSpaceError,
        NotFoundError,
        PrivilegeError,
        StoreError,
        TrustError,
        UsageError,
    )
    from bundler.format.image_compression import ImageCompression
    from bundler.ports import RunOptions
    from bundler.streams import Progress
    from bundler.trust.admission import Admission
    from bundler.trust.policy import Policy, Signature
    from bundler.trust.signing import Signed
    from bundler.verbs.apply import ApplyOptions, ApplyResult
    from bundler.verbs.apply_to import ApplyToOptions, ApplyToResult
    from bundler.verbs.copy import CopyResult
    from bundler.verbs.extract import ExtractOptions, ExtractResult
    from bundler.verbs.ingest import IngestOptions, IngestResult
    from bundler.verbs.push import Options as PushOptions
    from bundler.verbs.push import PushResult
    from bundler.verbs.replace import Replaced, ReplaceOptions, ReplaceResult

__all__ = [
    "Admission",
    "ApplyOptions",
    "ApplyResult",
    "ApplyToOptions",
    "ApplyToResult",
    "AuthorizationError",
    "BaseMismatchError",
    "Bundle",
    "BundlerError",
    "BusyError",
    "CopyResult",
    "EngineError",
    "ExtractOptions",
    "ExtractResult",
    "ImageCompression",
    "IngestOptions",
    "IngestResult",
    "Inspection",
    "IntegrityError",
    "MigratorOptions",
    "ModelError",
    "NoSpaceError",
    "NotFoundError",
    "Policy",
    "PrivilegeError",
    "Progress",
    "PushOptions",
    "PushResult",
    "ReplaceOptions",
    "ReplaceResult",
    "Replaced",
    "RunOptions",
    "Signature",
    "Signed",
    "StoreError",
    "StoreOptions",
    "TrustError",
    "UsageError",
    "Verification",
    "apply",
    "apply_to",
    "connect_engine",
    "connect_process",
    "copy",
    "extract",
    "host_admission",
    "ingest",
    "inspect",
    "load_policy",
    "open_store",
    "push",
    "replace",
    "sign",
    "undo_replace",
    "verify",
]

_MODULES = {
    "api.engines": ("MigratorOptions", "connect_engine"),
    "api.processes": ("connect_process",),
    "api.images": ("apply_to",),
    "api.stores": ("StoreOptions", "open_store"),
    "api.trust": ("host_admission", "load_policy"),
    "api.verbs": (
        "Inspection",
        "Verification",
        "apply",
        "copy",
        "extract",
        "ingest",
        "inspect",
        "push",
        "replace",
        "sign",
        "undo_replace",
        "verify",
    ),
    "bundle": ("Bundle",),
    "format.image_compression": ("ImageCompression",),
    "ports": ("RunOptions",),
    "streams": ("Progress",),
    "trust.admission": ("Admission",),
    "trust.policy": ("Policy", "Signature"),
    "trust.signing": ("Signed",),
    "verbs.apply": ("ApplyOptions", "ApplyResult"),
    "verbs.apply_to": ("ApplyToOptions", "ApplyToResult"),
    "verbs.copy": ("CopyResult",),
    "verbs.extract": ("ExtractOptions", "ExtractResult"),
    "verbs.ingest": ("IngestOptions", "IngestResult"),
    "verbs.push": ("PushResult",),
    "verbs.replace": ("ReplaceOptions", "ReplaceResult", "Replaced"),
}


def __getattr__(name: str) -> object:
    """Import what is exported on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if name == "PushOptions":
        return import_module("bundler.verbs.push").Options
    module = next((module for module, names in _MODULES.items() if name in names), "errors")
    return getattr(import_module(f"bundler.{module}"), name)
