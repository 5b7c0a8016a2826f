"""What an engine answers: bounded JSON, checked for the fields that are used (Docker Engine API).

An engine is not trusted to send what its API says. Every document of it is read by `parse` and `read`, which raise `BadAnswer`.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_pascal

MAX_SIZE = 32 << 20
"""Longest document in bytes; the longest that engines send is the list of changed files."""
MAX_VALUES = 2_000_000
"""Most values in one document, which bounds the memory that it takes once it is parsed."""

T = TypeVar("T", bound=BaseModel)


class BadAnswer(Exception):  # noqa: N818 - becomes an EngineError where the request is known
    """An answer that is no JSON, is too long, or has another shape than the API says."""


def parse(data: bytes) -> Any:
    """The value of a JSON document."""
    if len(data) > MAX_SIZE or sum(map(data.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise BadAnswer("it is too long")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"it is no JSON: {str(error)[:200]}") from error


def read(shape: type[T], content: Any) -> T:
    """A parsed document as a typed value."""
    try:
        return shape.model_validate(content)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, found["loc"]))[:200]
        raise BadAnswer(f"{place or 'the document'}: {found['msg'][:200]}") from error


def read_list(shape: type[T], content: Any) -> list[T]:
    """A list of documents; Go writes an empty one as ``null``."""
    if not isinstance(content, list | None):
        raise BadAnswer("it is no list")
    return [read(shape, item) for item in content or ()]


class _Answer(BaseModel):
    """A document in Go's spelling; ``null`` counts as absent, as Go writes empty lists and maps so."""

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

    docker_root_dir: str = Field("", max_length=4096)
    driver_status: list[list[str]] = []
    security_options: list[str] = []
    system_time: str = ""


class State(_Answer):
    """Whether a container runs, and which start of it that is."""

    running: bool = False
    paused: bool = False
    pid: Count = 0
    started_at: str = Field("", max_length=100)

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


class HostConfig(_Answer):
    network_mode: str = ""
    restart_policy: RestartPolicy = RestartPolicy()
    tmpfs: dict[str, str] = {}


class Mount(_Answer):
    destination: str = Field(max_length=4096)
    type: str = Field(max_length=100)


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
    """The same, as far as it tells whether the container runs."""

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
    """The settings of an image, as far as code relies on their types."""

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
    """``GET /images/{name}/json``; ``settings`` are its ``Config``, all of it."""

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
    """What an engine made: ``POST /containers/create``, ``POST /commit``"""

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
        """In nanoseconds; 0 where the engine does not tell it."""
        return self.cpu_stats.cpu_usage.total_usage
