"""Answers of an engine: bounded JSON, with a type check of the fields that are used (Docker Engine API).

An engine is not trusted to follow its API. `parse` and `read` check every document of it and raise `BadAnswer`.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_pascal

MAX_SIZE = 32 << 20
"""Largest document in bytes; the largest that engines send is the list of changed files."""
MAX_VALUES = 2_000_000
"""Largest number of values in one document; it bounds the memory of the parsed document."""

T = TypeVar("T", bound=BaseModel)


class BadAnswer(Exception):  # noqa: N818 - converted to an EngineError that names the request
    """An answer that is not JSON, is too long, or does not have the shape that the API defines."""


def parse(data: bytes) -> Any:
    """Parse a JSON document."""
    if len(data) > MAX_SIZE or sum(map(data.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise BadAnswer("it is too long")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"it is not JSON: {str(error)[:200]}") from error


def read(shape: type[T], content: Any) -> T:
    """Convert a parsed document to a typed value."""
    try:
        return shape.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))[:200]
        raise BadAnswer(f"{field or 'the document'}: {first['msg'][:200]}") from error


def read_list(shape: type[T], content: Any) -> list[T]:
    """Convert a list of documents; Go encodes an empty one as ``null``."""
    if not isinstance(content, list | None):
        raise BadAnswer("it is not a list")
    return [read(shape, item) for item in content or ()]


class _Answer(BaseModel):
    """A document with Go's field names; ``null`` counts as absent, because Go encodes empty lists and maps so."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, alias_generator=to_pascal, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, content: Any) -> Any:
        return {key: value for key, value in content.items() if value is not None} if isinstance(content, dict) else content


def _checked_address(text: str) -> str:
    if text:
        ipaddress.ip_address(text)
    return text


Identity = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ImageIdentity = Annotated[str, Field(pattern=r"^(sha256:)?[0-9a-f]{64}$")]
DiffID = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Address = Annotated[str, AfterValidator(_checked_address)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]


class Component(_Answer):
    name: str = ""


class Version(_Answer):
    """``GET /version``"""

    version: str = Field(max_length=100)
    api_version: str = Field(pattern=r"^[0-9]{1,3}\.[0-9]{1,3}$")
    components: list[Component] = []


class Info(_Answer):
    """``GET /info``"""

    name: str = ""
    docker_root_dir: str = Field("", max_length=4096)
    driver_status: list[list[str]] = []
    security_options: list[str] = []
    system_time: str = ""


class Health(_Answer):
    status: str = Field("", max_length=100)


class State(_Answer):
    """State of a container; `instance` identifies one start of it."""

    running: bool = False
    paused: bool = False
    pid: Count = 0
    started_at: str = Field("", max_length=100)
    health: Health = Health()

    @property
    def instance(self) -> str:
        return f"{self.started_at} {self.pid}"


class HealthCheck(_Answer):
    test: list[str] = []
    interval: int = 0
    timeout: int = 0
    retries: int = 0


class ContainerConfig(_Answer):
    image: str = Field("", max_length=4096)
    exposed_ports: dict[str, Any] = {}
    healthcheck: HealthCheck = HealthCheck()
    labels: dict[str, str] = {}
    stop_timeout: Count | None = None
    tty: bool = False


class Network(_Answer):
    ip_address: Address = Field("", alias="IPAddress")


class Binding(_Answer):
    host_ip: Address = ""
    host_port: str = Field("", pattern=r"^[0-9]{0,5}$")


class NetworkSettings(_Answer):
    networks: dict[str, Network | None] = {}
    ports: dict[str, list[Binding] | None] = {}


class RestartPolicy(_Answer):
    name: str = ""
    maximum_retry_count: int = 0


class HostConfig(_Answer):
    auto_remove: bool = False
    network_mode: str = ""
    restart_policy: RestartPolicy = RestartPolicy()
    tmpfs: dict[str, str] = {}


class Mount(_Answer):
    destination: str = Field(max_length=4096)
    type: str = Field(max_length=100)
    name: str = Field("", max_length=1024)
    rw: bool = Field(True, alias="RW")


class Inspected(_Answer):
    """``GET /containers/{id}/json``"""

    id: Identity
    name: str = Field(pattern=r"^/?[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=1024)
    image: ImageIdentity
    config: ContainerConfig
    state: State
    network_settings: NetworkSettings
    host_config: HostConfig
    mounts: list[Mount] = []
    size_rw: int = 0
    size_root_fs: int = 0


class Stated(_Answer):
    """The state in ``GET /containers/{id}/json``"""

    state: State


class Listed(_Answer):
    """One of ``GET /containers/json``"""

    id: Identity
    names: list[str] = []


class ListedImage(_Answer):
    """One of ``GET /images/json``"""

    id: ImageIdentity


class RootFS(_Answer):
    type: str = ""
    layers: list[DiffID] = []


class ImageConfig(_Answer):
    """Settings of an image whose types the code relies on."""

    cmd: list[str] = []
    entrypoint: list[str] = []
    env: list[str] = []
    exposed_ports: dict[str, Any] = {}
    healthcheck: HealthCheck = HealthCheck()
    labels: dict[str, str] = {}
    on_build: list[str] = []
    shell: list[str] = []
    stop_signal: str = ""
    user: str = ""
    volumes: dict[str, Any] = {}
    working_dir: str = ""


class InspectedImage(_Answer):
    """``GET /images/{name}/json``; ``settings`` is its complete ``Config``."""

    id: ImageIdentity
    repo_tags: list[str] = []
    repo_digests: list[str] = []
    os: str = ""
    architecture: str = ""
    variant: str = ""
    root_fs: RootFS = Field(RootFS(), alias="RootFS")
    config: ImageConfig = ImageConfig()
    settings: dict[str, Any] = Field({}, alias="settings")
    created: str = ""
    size: int = 0

    @model_validator(mode="before")
    @classmethod
    def _keep_settings(cls, content: Any) -> Any:
        return {**content, "settings": content.get("Config")} if isinstance(content, dict) else content


class Change(_Answer):
    """One of ``GET /containers/{id}/changes``"""

    path: str
    kind: int = Field(ge=0, le=2)


class Created(_Answer):
    """``POST /containers/create``, ``POST /commit``"""

    id: str


class PathStat(_Answer):
    """``X-Docker-Container-Path-Stat``"""

    mode: Count = Field(alias="mode")
    size: int = Field(alias="size")
    link_target: str = Field("", alias="linkTarget")


class LoadLine(_Answer):
    """One line of the answer to ``POST /images/load``"""

    stream: str = Field("", alias="stream")
    error: str = Field("", alias="error")


class EventLine(_Answer):
    """One line of ``GET /events``"""

    time_nano: int = Field(alias="timeNano")
    action: str


class _Usage(_Answer):
    total_usage: int = Field(0, alias="total_usage")


class _CPU(_Answer):
    cpu_usage: _Usage = Field(_Usage(), alias="cpu_usage")


class Stats(_Answer):
    """``GET /containers/{id}/stats``"""

    cpu_stats: _CPU = Field(_CPU(), alias="cpu_stats")

    @property
    def cpu_time(self) -> int:
        """In nanoseconds; 0 if the engine does not report it."""
        return self.cpu_stats.cpu_usage.total_usage


class SettingsOfHost(_Answer):
    """Run options of a container whose types the code relies on; ``all`` is its complete ``HostConfig``."""

    auto_remove: bool = False
    binds: list[str] = []
    mounts: list[dict[str, Any]] = []
    links: list[str] = []
    network_mode: str = ""
    port_bindings: dict[str, list[dict[str, str]] | None] = {}
    restart_policy: RestartPolicy = RestartPolicy()
    tmpfs: dict[str, str] = {}
    uts_mode: str = Field("", alias="UTSMode")
    ulimits: list[dict[str, Any]] = []
    devices: list[dict[str, Any]] = []
    all: dict[str, Any] = Field({}, alias="all")

    @model_validator(mode="before")
    @classmethod
    def _keep_all(cls, content: Any) -> Any:
        return {**content, "all": content} if isinstance(content, dict) else content


class SettingsOfEndpoint(_Answer):
    """How a container is attached to one network."""

    ipam_config: dict[str, Any] = Field({}, alias="IPAMConfig")
    links: list[str] = []
    aliases: list[str] = []
    driver_opts: dict[str, str] = {}
    network_id: str = Field("", alias="NetworkID")
    ip_address: Address = Field("", alias="IPAddress")
    global_ipv6_address: Address = Field("", alias="GlobalIPv6Address")
    gw_priority: int = 0


class SettingsOfNetworks(_Answer):
    networks: dict[str, SettingsOfEndpoint | None] = {}


class Settings(_Answer):
    """``GET /containers/{id}/json``, for the options with which a container was created; ``all`` is its complete ``Config``."""

    id: Identity
    name: str = Field(max_length=1024)
    config: ImageConfig
    all: dict[str, Any] = Field({}, alias="all")
    host_config: SettingsOfHost
    mounts: list[Mount] = []
    network_settings: SettingsOfNetworks

    @model_validator(mode="before")
    @classmethod
    def _keep_all(cls, content: Any) -> Any:
        return {**content, "all": content.get("Config")} if isinstance(content, dict) else content


class PodmanLog(_Answer):
    type: str = ""
    tag: str = ""
    size: str = ""


class PodmanHost(_Answer):
    cgroup_mode: str = ""
    log_config: PodmanLog = PodmanLog()


class PodmanConfig(_Answer):
    create_command: list[str] = []
    secrets: list[Any] = []
    umask: str = ""
    timeout: int = 0
    healthcheck_on_failure_action: str = ""


class PodmanSettings(_Answer):
    """``GET /libpod/containers/{id}/json``: what Podman does not report in Docker's terms."""

    pod: str = ""
    rootfs: str = ""
    dependencies: list[str] = []
    config: PodmanConfig = PodmanConfig()
    host_config: PodmanHost = PodmanHost()
