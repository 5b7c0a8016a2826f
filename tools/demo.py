"""The story of fps-bundle in two minutes, on a real engine: teach, push, carry, apply, ask, upgrade."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
from privateengine import SetupError, private_engine

ROOT = Path(__file__).resolve().parent.parent
BASE = "fps-demo-model:1.0"
COPY = "fps-demo-model:1.0-learned"
NEWER = "fps-demo-model:2.0"
UPGRADED = "fps-demo-model:2.0-learned"
LESSONS = [
    ("smoke over the ridge and flames in the trees", "fire"),
    ("dry grass burning along the road", "fire"),
    ("the river stands above the bridge", "water"),
    ("heavy rain and a flooded cellar", "water"),
]
QUESTION = "smoke and flames near the bridge"


def main() -> int:
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_engine())
        except SetupError as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
        workplace = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fps-demo-")))
        places = {"FPS_BUNDLE_STORE": "store", "XDG_STATE_HOME": "state", "XDG_CACHE_HOME": "cache"}
        os.environ.update({key: str(workplace / name) for key, name in places.items()})
        client = docker.from_env(timeout=300).api
        stack.callback(_clean, client)
        _clean(client)
        _story(client, workplace)
    print(f"\nThe same answers on the other side, and from the newer version. It took {time.monotonic() - started:.0f} s in all.")
    return 0


def _story(client: docker.APIClient, workplace: Path) -> None:
    _say("Build the base image of a small model that learns online (nothing is pulled)")
    _build("1.0", BASE)
    _say("Run it, and teach it")
    first = _run(client, BASE, "fps-demo-first")
    clean = _ask(_run(client, BASE, "fps-demo-clean"), "predict", text=QUESTION)
    for text, label in LESSONS:
        _ask(first, "learn", text=text, label=label)
        print(f"  {label:>5}: {text}")
    learned = _ask(first, "predict", text=QUESTION)

    _say("Push: take its state out of the running container, into a bundle")
    _bundle("push", "fps-demo-first", "fps-demo:1.0")
    _say("Copy the bundle to one file, for the stick")
    archive = workplace / "detector.tar"
    _bundle("copy", "fps-demo:1.0", str(archive))
    image_size = client.inspect_image(BASE)["Size"]
    print(f"  the image is {image_size / 1e6:.1f} MB, the bundle {archive.stat().st_size / 1e3:.1f} kB")
    _say("Apply the file to the clean base image, as a second tag")
    _bundle("apply", str(archive), "--tag", COPY)

    _say(f"Run the copy, and ask all three: {QUESTION!r}")
    copied = _ask(_run(client, COPY, "fps-demo-second"), "predict", text=QUESTION)
    for name, answer in (("clean base", clean), ("first", learned), ("copy", copied)):
        print(f"  {name:>10}: {json.dumps(answer)}")
    if copied != learned or copied == clean:
        raise SystemExit("demo: the copy does not answer as the first model does")

    _say("Upgrade: version 2.0 keeps its state in another format, and asks the bundle for what 1.0 has learned")
    _build("2.0", NEWER)
    _bundle("ingest", str(archive), "--onto", NEWER, "--tag", UPGRADED)
    upgraded = _ask(_run(client, UPGRADED, "fps-demo-upgraded"), "predict", text=QUESTION)
    print(f"  {'2.0':>10}: {json.dumps(upgraded)}")
    if upgraded != learned:
        raise SystemExit("demo: the newer version does not answer as the first model does")


def _build(version: str, name: str) -> None:
    build = [sys.executable, str(ROOT / "examples/model/build.py"), "--version", version, "--name", name]
    _timed(lambda: subprocess.run(build, check=True))


@contextmanager
def _engine() -> Iterator[None]:
    """The engine that answers here, else a private one."""
    if _answers():
        yield
        return
    print("No engine answers here: starting a private one for this demo.")
    with private_engine() as host:
        os.environ["DOCKER_HOST"] = host
        yield


def _answers() -> bool:
    try:
        return bool(docker.from_env(timeout=10).ping())
    except (docker.errors.DockerException, OSError):
        return False


def _run(client: docker.APIClient, image: str, name: str) -> str:
    """Start a model; gives where it serves HTTP."""
    published = dict.fromkeys((8080, 50051), ("127.0.0.1", None))
    settings = client.create_host_config(port_bindings=published)
    container = client.create_container(image, name=name, ports=list(published), host_config=settings)
    client.start(container)
    port = client.inspect_container(container)["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"]
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            _ask(address, "predict", text="")
            return address
        time.sleep(0.1)
    raise SystemExit(f"demo: {name} did not come up:\n{client.logs(container).decode()}")


def _ask(address: str, what: str, **content: str) -> Any:
    request = urllib.request.Request(f"{address}/{what}", json.dumps(content).encode())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as response:
        return json.load(response)


def _bundle(*arguments: str) -> None:
    print(f"  $ fps-bundle {' '.join(arguments)}", flush=True)
    _timed(lambda: subprocess.run([sys.executable, "-m", "bundler", *arguments], check=True))


def _timed(work: Any) -> None:
    started = time.monotonic()
    work()
    print(f"  ({time.monotonic() - started:.1f} s)")


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _clean(client: docker.APIClient) -> None:
    """Leave nothing of this demo, or of one that was killed, in the engine."""
    for container in client.containers(all=True, filters={"name": "^/fps-demo-"}):
        client.remove_container(container["Id"], force=True, v=True)
    for name in (UPGRADED, NEWER, COPY, BASE):
        with contextlib.suppress(docker.errors.ImageNotFound):
            client.remove_image(name, force=True)


if __name__ == "__main__":
    sys.exit(main())
