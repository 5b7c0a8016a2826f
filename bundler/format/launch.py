"""The settings of an image that decide which program runs in a container of it, as which user, and with which code.

Beside the settings themselves these are the environment variables from which a program takes code before its own first line
runs: those of the dynamic linker, of shells and of language runtimes, the search path, and what the NVIDIA runtime reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

SETTINGS = ("User", "Entrypoint", "Cmd", "WorkingDir", "Healthcheck", "Shell", "OnBuild")
VARIABLES = (
    "LD_*",
    "GLIBC_TUNABLES",
    "GCONV_PATH",
    "PATH",
    "HOME",
    "BASH_*",
    "BASHOPTS",
    "ENV",
    "SHELLOPTS",
    "PS4",
    "ZDOTDIR",
    "PYTHON*",
    "PERL*",
    "RUBY*",
    "GEM_*",
    "NODE_*",
    "LUA_*",
    "PHP*",
    "JAVA_*",
    "_JAVA_*",
    "JDK_*",
    "CLASSPATH",
    "DOTNET_*",
    "CORECLR_*",
    "OPENSSL_*",
    "CUDA_INJECTION*",
    "NVIDIA_*",
)
"""Names of environment variables, as globs."""

_SHOWN = 200


@dataclass(frozen=True)
class Change:
    """A setting that two configurations have with different values; None where one has none."""

    setting: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.setting}: {shown(self.old)} -> {shown(self.new)}"

    def to_json(self) -> dict[str, Any]:
        return {"setting": self.setting, "old": self.old, "new": self.new}


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The launch settings of an image's ``config`` that are not empty; of the environment ``Env NAME`` with its values."""
    found = {name: config[name] for name in SETTINGS if config.get(name)}
    for name, value in _variables(config):
        found.setdefault(f"Env {name}", []).append(value)
    return found


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """The launch settings in which two configurations of images differ."""
    before, after = settings(old), settings(new)
    names = dict.fromkeys((*before, *after))
    return [Change(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]


def shown(value: Any) -> str:
    """A value as JSON, shortened for display."""
    text = json.dumps(value, ensure_ascii=True, sort_keys=True) if value is not None else "none"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _variables(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    environment = config.get("Env")
    for line in environment if isinstance(environment, list) else ():
        name, _, value = str(line).partition("=")
        if any(fnmatchcase(name, glob) for glob in VARIABLES):
            yield name, value
