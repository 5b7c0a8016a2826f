"""Builds the image of the example model without pulling anything.

The root file system has the Python that runs this script, the packages that the model needs, and the shared libraries that
those link to; the engine imports it as an image.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
PROTO = REPOSITORY / "proto"
PACKAGES = ("grpcio", "protobuf", "typing-extensions")

sys.path.insert(0, str(REPOSITORY / "tools"))
import pythonroot  # noqa: E402


def build(host: str | None, version: str, name: str) -> None:
    """Make the image ``name`` of one version on the engine at ``host``."""
    import docker

    client = docker.APIClient(base_url=host, version="auto", timeout=600) if host else docker.from_env(timeout=600).api
    with tempfile.TemporaryDirectory() as directory:
        root, archive = Path(directory) / "root", Path(directory) / "root.tar"
        root.mkdir()
        _assemble(root)
        pythonroot.pack(root, archive)
        changes = [
            f"ENV MODEL_VERSION={version}",
            f"ENV PYTHONHOME={sys.base_prefix}",
            "ENV PYTHONDONTWRITEBYTECODE=1",
            "EXPOSE 50051/tcp",
            "EXPOSE 8080/tcp",
            'LABEL org.opencontainers.image.title="Example Model"',
            f"LABEL org.opencontainers.image.version={version}",
            'LABEL org.opencontainers.image.vendor="FPS examples"',
            "LABEL t1.fps.model.migrator.port=50051",
            "LABEL com.example.site=demo",
            f'CMD ["{pythonroot.PYTHON}", "/app/server.py"]',
        ]
        repository, _, tag = name.rpartition(":")
        with archive.open("rb") as stream:
            answer = client.import_image_from_data(stream, repository=repository, tag=tag, changes=changes)
        # Podman does not take the tag of an import.
        client.tag(json.loads(answer.strip().splitlines()[-1])["status"], repository, tag)


def _assemble(root: Path) -> None:
    site = pythonroot.assemble(root, PACKAGES)
    app = root / "app"
    app.mkdir()
    for source in HERE.glob("*.py"):
        if source.name != "build.py":
            shutil.copy2(source, app)
    compiler = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"--python_out={app}", f"--grpc_python_out={app}"]
    subprocess.run([*compiler, "fps/model/migrator.proto"], check=True, cwd=PROTO)
    pythonroot.compile_modules(root, [app, site], "random, runpy, site, server")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", help="the engine's address; default: as docker finds it")
    parser.add_argument("--version", default="1.0", choices=("1.0", "2.0"))
    parser.add_argument("--name", default="example-model:1.0", metavar="NAME:TAG")
    arguments = parser.parse_args()
    build(arguments.host, arguments.version, arguments.name)
