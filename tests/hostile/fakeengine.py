"""An engine on a Unix socket that knows one container and one image, and answers single requests as a test says."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import re
import socketserver
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

Answer = tuple[int, dict[str, str], bytes]
Bad = Callable[[BaseHTTPRequestHandler], None]
"""Writes an answer to the socket itself."""

CONTAINER = "c" * 64
NOW = "2026-01-02T03:04:05.000000001Z"
LAYERS = [f"sha256:{hashlib.sha256(b'layer %d' % number).hexdigest()}" for number in range(2)]
MODEL = "sha256:" + "1" * 64
STATE = "/s"


def image(identity: str = MODEL, names: tuple[str, ...] = ("model:1.0",), **changes: Any) -> dict[str, Any]:
    return {
        "Id": identity,
        "RepoTags": list(names),
        "RepoDigests": [],
        "Os": "linux",
        "Architecture": "amd64",
        "RootFS": {"Type": "layers", "Layers": LAYERS},
        "Config": {"Cmd": ["serve"], "Labels": {"org.opencontainers.image.title": "Model"}, "Volumes": None},
        "Created": NOW,
        "Size": 1000,
        **changes,
    }


@dataclass
class Engine:
    """What the engine holds. A request that has a name in `bad` gets that answer; one in `idle` is answered and not done."""

    bad: dict[str, Bad] = field(default_factory=dict)
    idle: set[str] = field(default_factory=set)
    paused: bool = False
    images: list[dict[str, Any]] = field(default_factory=lambda: [image()])
    temporary: dict[str, str] = field(default_factory=dict)
    name: str = "detector"
    image_of: dict[str, str] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    health: str = ""
    """What the health check of every container reports; empty if they have none."""
    asked: list[str] = field(default_factory=list)

    def container(self, identity: str, name: str) -> dict[str, Any]:
        ours = identity == CONTAINER
        state: dict[str, Any] = {
            "Running": identity not in self.stopped,
            "Paused": self.paused and ours,
            "Pid": 0,
            "StartedAt": NOW,
        }
        config: dict[str, Any] = {"Image": "model:1.0", "ExposedPorts": {"50051/tcp": {}}, "Labels": None, "Tty": False}
        if self.health:
            state["Health"], config["Healthcheck"] = {"Status": self.health}, {"Test": ["CMD", "check"]}
        return {
            "Id": identity,
            "Name": f"/{name}",
            "Image": self.image_of.get(identity, MODEL),
            "Config": config,
            "State": state,
            "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "127.0.0.1"}}, "Ports": {}},
            "HostConfig": {"NetworkMode": "bridge", "RestartPolicy": {"Name": "no"}},
            "Mounts": [],
            "SizeRw": 100,
            "SizeRootFs": 1000,
        }

    def find_container(self, name: str) -> dict[str, Any] | None:
        if name in (self.name, CONTAINER):
            return self.container(CONTAINER, self.name)
        held = next((key for key, value in self.temporary.items() if name in (key, value)), None)
        return self.container(self.temporary[held], held) if held else None

    def find_image(self, name: str) -> dict[str, Any] | None:
        return next((it for it in self.images if name == it["Id"] or name in it["RepoTags"]), None)

    def name_image(self, found: dict[str, Any], name: str) -> None:
        for it in self.images:
            it["RepoTags"] = [tag for tag in it["RepoTags"] if tag != name]
        found["RepoTags"].append(name)

    def load(self, body: bytes) -> bytes:
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            (described,) = json.loads(archive.extractfile("manifest.json").read())  # type: ignore[union-attr]
            config = archive.extractfile(described["Config"]).read()  # type: ignore[union-attr]
        content = json.loads(config)
        identity = f"sha256:{hashlib.sha256(config).hexdigest()}"
        layers = {"Type": "layers", "Layers": content["rootfs"]["diff_ids"]}
        self.images.append(image(identity, (), RootFS=layers, Config=content["config"], Created=content.get("created", "")))
        self.name_image(self.images[-1], described["RepoTags"][0])
        return json.dumps({"stream": f"Loaded image: {described['RepoTags'][0]}\n"}).encode()


@contextmanager
def serving(engine: Engine, path: Path) -> Iterator[str]:
    """The address of a socket at which this engine answers."""

    class Handler(_Handler):
        holds = engine

    with _Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown()


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 50

    def handle_error(self, *_: object) -> None:
        """A client that has heard enough goes away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    holds: ClassVar[Engine]

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""

    def address_string(self) -> str:
        return "unix"

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = self._body()
        parts = urlsplit(self.path)
        path = unquote(re.sub(r"^/v[0-9.]+", "", parts.path))
        for name, method, pattern, act in REQUESTS:
            if method == self.command and (found := re.fullmatch(pattern, path)):
                self.holds.asked.append(name)
                if bad := self.holds.bad.get(name):
                    self.close_connection = True
                    with contextlib.suppress(OSError):
                        bad(self)
                    return
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                idle = name in self.holds.idle
                self._answer(act(self.holds, Request(*found.groups(), query=query, body=body, idle=idle)))
                return
        self._answer(_missing(self.path))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = bytearray()
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(body)

    def _answer(self, answer: Answer) -> None:
        status, headers, body = answer
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Request:
    """What is asked for: the name in the path, the query, the body; ``idle`` when nothing is to be done about it."""

    def __init__(self, name: str = "", *, query: dict[str, str], body: bytes, idle: bool) -> None:
        self.name = name
        self.query = query
        self.body = body
        self.idle = idle


def _json(content: Any, status: int = 200) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(content).encode()


def _missing(name: str) -> Answer:
    return _json({"message": f"No such image or container: {name}"}, 404)


def _version(_: Engine, __: Request) -> Answer:
    return _json({"Version": "20.10.24", "ApiVersion": "1.44", "Components": [{"Name": "Engine"}]})


def _info(_: Engine, __: Request) -> Answer:
    return _json({"DockerRootDir": "", "DriverStatus": [["a", "b"]], "SecurityOptions": None, "SystemTime": NOW})


def _container(engine: Engine, asked: Request) -> Answer:
    found = engine.find_container(asked.name)
    return _json(found) if found else _missing(asked.name)


def _containers(engine: Engine, _: Request) -> Answer:
    del engine
    return _json([{"Id": CONTAINER, "Names": ["/detector"]}])


def _image(engine: Engine, asked: Request) -> Answer:
    found = engine.find_image(asked.name)
    return _json(found) if found else _missing(asked.name)


def _images(engine: Engine, _: Request) -> Answer:
    return _json([{"Id": it["Id"]} for it in engine.images])


def _pause(engine: Engine, asked: Request) -> Answer:
    engine.paused = engine.paused if asked.idle else True
    return 204, {}, b""


def _unpause(engine: Engine, asked: Request) -> Answer:
    engine.paused = engine.paused if asked.idle else False
    return 204, {}, b""


def _events(_: Engine, asked: Request) -> Answer:
    event = {"Action": "pause", "timeNano": 2_000_000_000_000_000_000}
    return 200, {}, json.dumps(event).encode() + b"\n" if "until" in asked.query else b""


def _stats(_: Engine, __: Request) -> Answer:
    return _json({"cpu_stats": {"cpu_usage": {"total_usage": 7}}})


def _stat(_: Engine, asked: Request) -> Answer:
    path = asked.query["path"]
    if path not in (STATE, f"{STATE}/f"):
        return _missing(path)
    told = {"name": path, "size": 4, "mode": 1 << 31 if path == STATE else 0o644, "linkTarget": ""}
    return 200, {"X-Docker-Container-Path-Stat": base64.b64encode(json.dumps(told).encode()).decode()}, b""


def _archive(_: Engine, __: Request) -> Answer:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        directory, content = tarfile.TarInfo("s"), tarfile.TarInfo("s/f")
        directory.type, directory.mode, content.size = tarfile.DIRTYPE, 0o755, 4
        archive.addfile(directory)
        archive.addfile(content, io.BytesIO(b"data"))
    return 200, {}, file.getvalue()


def _changes(_: Engine, __: Request) -> Answer:
    return _json([{"Path": f"{STATE}/f", "Kind": 1}])


def _create(engine: Engine, asked: Request) -> Answer:
    identity = hashlib.sha256(asked.query["name"].encode()).hexdigest()
    if not asked.idle:
        engine.temporary[asked.query["name"]] = identity
        if named := engine.find_image(json.loads(asked.body)["Image"]):
            engine.image_of[identity] = named["Id"]
    return _json({"Id": identity, "Warnings": None}, 201)


def _remove(engine: Engine, asked: Request) -> Answer:
    held = engine.find_container(asked.name)
    if not held:
        return _missing(asked.name)
    if not asked.idle:
        engine.temporary.pop(held["Name"][1:], None)
    return 204, {}, b""


def _logs(_: Engine, __: Request) -> Answer:
    return 200, {}, b"\1\0\0\0\0\0\0\5hello"


def _start(engine: Engine, asked: Request) -> Answer:
    held = engine.find_container(asked.name)
    if held and not asked.idle:
        engine.stopped.discard(held["Id"])
    return (204, {}, b"") if held else _missing(asked.name)


def _stop(engine: Engine, asked: Request) -> Answer:
    held = engine.find_container(asked.name)
    if held and not asked.idle:
        engine.stopped.add(held["Id"])
    return (204, {}, b"") if held else _missing(asked.name)


def _rename(engine: Engine, asked: Request) -> Answer:
    held = engine.find_container(asked.name)
    if held and not asked.idle:
        if held["Id"] == CONTAINER:
            engine.name = asked.query["name"]
        else:
            engine.temporary[asked.query["name"]] = engine.temporary.pop(held["Name"][1:])
    return (204, {}, b"") if held else _missing(asked.name)


def _put(_: Engine, __: Request) -> Answer:
    return 200, {}, b""


def _commit(engine: Engine, asked: Request) -> Answer:
    identity = "sha256:" + "2" * 64
    if not asked.idle:
        layers = {"Type": "layers", "Layers": [*LAYERS, "sha256:" + "3" * 64]}
        engine.images.append(image(identity, (f"{asked.query['repo']}:{asked.query['tag']}",), RootFS=layers))
    return _json({"Id": identity}, 201)


def _load(engine: Engine, asked: Request) -> Answer:
    return 200, {}, b"" if asked.idle else engine.load(asked.body)


def _tag(engine: Engine, asked: Request) -> Answer:
    found = engine.find_image(asked.name)
    if found and not asked.idle:
        engine.name_image(found, f"{asked.query['repo']}:{asked.query['tag']}")
    return (201, {}, b"") if found else _missing(asked.name)


def _untag(engine: Engine, asked: Request) -> Answer:
    found = engine.find_image(asked.name)
    if not found:
        return _missing(asked.name)
    if not asked.idle:
        found["RepoTags"] = [tag for tag in found["RepoTags"] if tag != asked.name]
    return _json([{"Untagged": asked.name}])


def _save(_: Engine, __: Request) -> Answer:
    return 200, {}, b"\0" * 10240


REQUESTS: list[tuple[str, str, str, Callable[[Engine, Request], Answer]]] = [
    ("version", "GET", "/version", _version),
    ("info", "GET", "/info", _info),
    ("events", "GET", "/events", _events),
    ("containers", "GET", "/containers/json", _containers),
    ("create", "POST", "/containers/create", _create),
    ("container", "GET", "/containers/([^/]+)/json", _container),
    ("pause", "POST", "/containers/([^/]+)/pause", _pause),
    ("unpause", "POST", "/containers/([^/]+)/unpause", _unpause),
    ("start", "POST", "/containers/([^/]+)/start", _start),
    ("stop", "POST", "/containers/([^/]+)/stop", _stop),
    ("rename", "POST", "/containers/([^/]+)/rename", _rename),
    ("stats", "GET", "/containers/([^/]+)/stats", _stats),
    ("stat", "HEAD", "/containers/([^/]+)/archive", _stat),
    ("archive", "GET", "/containers/([^/]+)/archive", _archive),
    ("put", "PUT", "/containers/([^/]+)/archive", _put),
    ("changes", "GET", "/containers/([^/]+)/changes", _changes),
    ("logs", "GET", "/containers/([^/]+)/logs", _logs),
    ("remove", "DELETE", "/containers/([^/]+)", _remove),
    ("images", "GET", "/images/json", _images),
    ("image", "GET", "/images/(.+)/json", _image),
    ("load", "POST", "/images/load", _load),
    ("tag", "POST", "/images/(.+)/tag", _tag),
    ("save", "GET", "/images/(.+)/get", _save),
    ("untag", "DELETE", "/images/(.+)", _untag),
    ("commit", "POST", "/commit", _commit),
]
"""Every request that is answered: its name, method, path, and what an honest engine does."""
