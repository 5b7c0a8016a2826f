"""fps-bundle: move what a model has learned from one host to another."""

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
    StoreError,
    TrustError,
    UsageError,
)

__all__ = [
    "AuthorizationError",
    "BaseMismatchError",
    "BundlerError",
    "BusyError",
    "EngineError",
    "IntegrityError",
    "ModelError",
    "NoSpaceError",
    "NotFoundError",
    "StoreError",
    "TrustError",
    "UsageError",
]
