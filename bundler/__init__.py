"""fps-bundle: move what a model has learned from one host to another."""

TYPE_CHECKING = False  # that of typing is slow to load, and signals are not handled before this module is loaded
if TYPE_CHECKING:
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


def __getattr__(name: str) -> object:
    """An error, whose module is loaded when the first one is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bundler import errors

    return getattr(errors, name)
