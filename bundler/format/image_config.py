"""Check an image's configuration as engines do before they create a container.

The rules are those of Docker's daemon and Podman (docs/spec/format.md, "Metadata"). An engine checks most of them only when
a container is created or started, when the image has its name already.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from signal import Signals
from typing import Any

_LEAST_TIME = 1_000_000
"""Nanoseconds of the shortest interval of a health check that engines take; 0 means the default."""
_MOST = 2**63
_MOST_ID = 2**31 - 1
_PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(?:tcp|udp|sctp))?", re.IGNORECASE)
_MOST_PORT = 65535
_SIGNAL = re.compile(r"(SIG)?RTM(IN\+|AX-)[0-9]{1,2}")
_MOST_SIGNAL = 64


def fault(config: Mapping[str, Any]) -> str:
    """Return why engines refuse to run a container with this ``config``, or an empty text."""
    return next(_faults(config), "")


def _faults(config: Mapping[str, Any]) -> Iterator[str]:
    for name, (is_right, wanted) in _TYPES.items():
        if config.get(name) is not None and not is_right(config[name]):
            yield f"{name} is not {wanted}"
            return
    if "\0" in "".join(_texts(config)):
        yield "a setting has a zero byte in it"
    for name, check in _CHECKS.items():
        if config.get(name) and (found := check(config[name])):
            yield f"{name} {found}"


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_map(value: Any, kind: type) -> bool:
    return isinstance(value, dict) and all(isinstance(item, kind) for item in value.values())


def _is_number(value: Any) -> bool:
    return type(value) is int and -_MOST <= value < _MOST


_STRINGS = (_is_strings, "a list of texts")
_TEXT = (lambda value: isinstance(value, str), "a text")
_SET = (lambda value: _is_map(value, dict), "an object of empty objects")
_TYPES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "Cmd": _STRINGS,
    "Entrypoint": _STRINGS,
    "Env": _STRINGS,
    "OnBuild": _STRINGS,
    "Shell": _STRINGS,
    "ExposedPorts": _SET,
    "Volumes": _SET,
    "Healthcheck": (lambda value: isinstance(value, dict), "an object"),
    "Labels": (lambda value: _is_map(value, str), "an object of texts"),
    "StopSignal": _TEXT,
    "User": _TEXT,
    "WorkingDir": _TEXT,
    "StopTimeout": (_is_number, "a whole number"),
    "ArgsEscaped": (lambda value: isinstance(value, bool), "true or false"),
}


def _texts(config: Mapping[str, Any]) -> Iterator[str]:
    """The texts that an engine passes to the kernel."""
    for name in ("Cmd", "Entrypoint", "Env", "Shell", "Volumes"):
        yield from config.get(name) or ()
    for name in ("StopSignal", "User", "WorkingDir"):
        yield config.get(name) or ""


def _environment(lines: list[str]) -> str:
    return "has a variable without a name" if any(line.partition("=")[0] == "" for line in lines) else ""


def _ports(ports: Mapping[str, Any]) -> str:
    for port in ports:
        found = _PORT.fullmatch(port)
        if not found or not int(found[1]) <= int(found[2] or found[1]) <= _MOST_PORT:
            return f"has {port[:80]!r}, which is no port"
    return ""


def _volumes(volumes: Mapping[str, Any]) -> str:
    return "has a volume without a path" if "" in volumes else ""


def _user(user: str) -> str:
    ids = [part for part in user.split(":")[:2] if re.fullmatch(r"-?[0-9]{1,40}", part)]
    return f"has an ID that is not between 0 and {_MOST_ID}" if any(not 0 <= int(part) <= _MOST_ID for part in ids) else ""


def _directory(path: str) -> str:
    return "" if path.startswith("/") else f"{path[:80]!r} is not absolute"


def _signal(text: str) -> str:
    name = text.upper()
    is_number = text.isascii() and text.isdigit() and 0 < int(text[:9]) <= _MOST_SIGNAL
    known = f"SIG{name.removeprefix('SIG')}" in Signals.__members__ or _SIGNAL.fullmatch(name)
    return "" if is_number or known else f"{text[:80]!r} is no signal"


def _health_check(check: Mapping[str, Any]) -> str:
    test = check.get("Test") or []
    if not _is_strings(test):
        return "has a Test that is not a list of texts"
    if "\0" in "".join(test):
        return "has a zero byte in its Test"
    for name in ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"):
        number = 0 if check.get(name) is None else check[name]
        if not _is_number(number) or number < 0:
            return f"has a {name} that is no whole number of 0 or more"
        if name != "Retries" and 0 < number < _LEAST_TIME:
            return f"has a {name} of less than 1 ms"
    return ""


_CHECKS: Mapping[str, Callable[[Any], str]] = {
    "Env": _environment,
    "ExposedPorts": _ports,
    "Volumes": _volumes,
    "User": _user,
    "WorkingDir": _directory,
    "StopSignal": _signal,
    "Healthcheck": _health_check,
}
