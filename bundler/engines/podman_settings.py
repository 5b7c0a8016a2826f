"""The settings of a Podman container in Docker's terms, which Podman's compatible API takes but does not report.

Some options are in no answer of Podman. They are recognised by the command that created the container, and refused.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Mapping
from typing import Any

from bundler.engines import answers

ASSIGNED = "assigned"
"""Value of a label: the container's addresses were chosen by Podman."""

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "TERM": "xterm",
    "container": "podman",
}
"""Variables that Podman adds to those of the image."""

_UNREPORTED = (
    "--sysctl",
    "--gpus",
    "--hooks-dir",
    "--seccomp-policy",
    "--chrootdirs",
    "--personality",
    "--unsetenv",
    "--unsetenv-all",
)
"""Options of ``podman run`` that no answer of Podman reports."""

_ADDRESS = re.compile("^--ip6?(=|$)|[:,]ip6?=")
"""The options of ``podman run`` that request an address: ``--ip`` and, in the value of ``--network``, ``ip``."""

_UMASKS = ("", "0000", "0022")  # Podman reports one of the last two when none was chosen
_NO_SIZE = ("", "0B")
_DEFAULT_SIGNAL = "SIGTERM"


def in_docker_terms(
    document: Mapping[str, Any], podman: answers.PodmanSettings, image: answers.ImageConfig, *, keep_addresses: bool
) -> dict[str, Any]:
    """Convert an answer to ``GET /containers/{id}/json`` so that a request made of it gives the same container again."""
    settings = answers.read(answers.Settings, document)
    config, host = dict(settings.all), dict(settings.host_config.all)
    config["Env"] = list(_environment(settings, image))
    config["StopSignal"] = _stop_signal(settings.config.stop_signal, image)
    for name in ("CpuPeriod", "CpuQuota") if host.get("NanoCpus") else ():
        host.pop(name, None)
    if host.get("MemorySwappiness") == -1:
        del host["MemorySwappiness"]
    host.pop("Runtime", None)
    host["LogConfig"] = _log(podman.host_config.log_config)
    host["CgroupnsMode"] = podman.host_config.cgroup_mode
    host["Devices"] = [
        {**device, "CgroupPermissions": device.get("CgroupPermissions") or "rwm"} for device in settings.host_config.devices
    ]
    host["Ulimits"] = [_ulimit(limit) for limit in settings.host_config.ulimits]
    networks = settings.network_settings.networks
    if host.get("NetworkMode") == "bridge" and networks:
        host["NetworkMode"] = next(iter(networks))
    endpoints = {
        name: {**endpoint.model_dump(by_alias=True), "IPAMConfig": _addresses(endpoint) if keep_addresses else None}
        for name, endpoint in networks.items()
        if endpoint
    }
    return {**document, "Config": config, "HostConfig": host, "NetworkSettings": {"Networks": {**networks, **endpoints}}}


def keeps_addresses(podman: answers.PodmanSettings, recorded: str) -> bool:
    """Whether the new container requests the addresses of the old one.

    Podman reports the addresses that a container has, and not whether they were requested. The command that created it tells
    that. Of a container that was created by the API only ``recorded``, our own label, can tell that they were assigned.
    """
    command = podman.config.create_command
    if _is_by_api(command):
        return recorded != ASSIGNED
    return any(_ADDRESS.search(word) for word in command)


def unkept(podman: answers.PodmanSettings) -> list[str]:
    """Name the options of a container that its replacement would not have."""
    config = podman.config
    found = {
        "a pod": bool(podman.pod),
        "--rootfs": bool(podman.rootfs),
        "--requires": bool(podman.dependencies),
        "--secret": bool(config.secrets),
        f"--umask {config.umask}": config.umask not in _UMASKS,
        f"--timeout {config.timeout}": config.timeout > 0,
        "--health-on-failure": config.healthcheck_on_failure_action not in ("", "none"),
    }
    named = [name for name, present in found.items() if present]
    if _is_by_api(config.create_command):
        return named
    options = [word.partition("=")[0] for word in config.create_command]
    named += [option for option in dict.fromkeys(options) if option in _UNREPORTED]
    return named + [f"the device {word}" for word in config.create_command if _is_cdi(word.removeprefix("--device="))]


def _is_by_api(command: list[str]) -> bool:
    return not command or "service" in command


def _is_cdi(word: str) -> bool:
    """Whether a word names a device of the Container Device Interface, such as ``nvidia.com/gpu=all``."""
    vendor, slash, device = word.partition("/")
    return bool(slash) and "." in vendor and "=" in device and ":" not in word and not vendor.startswith(("-", "."))


def _environment(settings: answers.Settings, image: answers.ImageConfig) -> Iterator[str]:
    """The variables of a container without those that Podman added."""
    names = {line.partition("=")[0] for line in image.env}
    added = {**_ENVIRONMENT, "HOSTNAME": str(settings.all.get("Hostname") or "")}
    for line in settings.config.env:
        name, _, value = line.partition("=")
        if name in names or added.get(name) != value:
            yield line


def _stop_signal(reported: str, image: answers.ImageConfig) -> str:
    """Convert the number of a stop signal to its name; empty for the default, and the image's own spelling for its signal."""
    name = _signal_name(reported)
    if name == _signal_name(image.stop_signal or _DEFAULT_SIGNAL):
        return image.stop_signal
    return name


def _signal_name(text: str) -> str:
    if not (text.isascii() and text.isdigit()):
        return text if not text or text.startswith("SIG") else f"SIG{text}"
    number = int(text)
    return signal.Signals(number).name if number in set(signal.Signals) else text


def _log(log: answers.PodmanLog) -> dict[str, Any]:
    options = {"tag": log.tag, "max-size": "" if log.size in _NO_SIZE else log.size}
    return {"Type": log.type, "Config": {key: value for key, value in options.items() if value}}


def _ulimit(limit: Mapping[str, Any]) -> dict[str, Any]:
    return {**limit, "Name": str(limit.get("Name", "")).removeprefix("RLIMIT_").lower()}


def _addresses(endpoint: answers.SettingsOfEndpoint) -> dict[str, str] | None:
    found = {"IPv4Address": endpoint.ip_address, "IPv6Address": endpoint.global_ipv6_address}
    return {key: value for key, value in found.items() if value} or None
