"""The addresses at which a process in its own network is reached from this host."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from bundler.engines.conversion import tcp_port
from bundler.engines.process import identity
from bundler.engines.process.identity import ProcessId

_LOOPBACK = "127.0.0.1"
_LOCAL = re.compile(r"\|-- (\d+\.\d+\.\d+\.\d+)\n\s+/32 host LOCAL")
"""An address of the network in ``/proc/PID/net/fib_trie``."""


def of(process: ProcessId) -> tuple[str, ...]:
    """Return the IPv4 addresses of a process's network; the loopback address where that is the network of this host."""
    with contextlib.suppress(OSError):
        if (process.home / "ns" / "net").samefile(identity.PROC / "self" / "ns" / "net"):
            return (_LOOPBACK,)
        found = dict.fromkeys(_LOCAL.findall((process.home / "net" / "fib_trie").read_text()))
        return tuple(address for address in found if not ipaddress.ip_address(address).is_loopback)
    return ()


def exposed(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the TCP ports that an image's config exposes."""
    return tuple(sorted(filter(None, map(tcp_port, config.get("ExposedPorts") or {}))))
