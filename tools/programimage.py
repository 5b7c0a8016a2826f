"""Builds the container image of fps-bundle without pulling anything, as an archive that engines load.

    make image    # dist/fps-bundle-image.tar, for `docker load`, `podman load` and `ctr images import`

The image runs as a user without rights, whose home directory is writable. It has `ssh-keygen` for signatures, and the
certificates of this host. The archive is an OCI image layout that is at the same time in the format of `docker save`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import pythonroot
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
USER = 65532
HOME = "home/fps-bundle"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def build(output: Path, name: str) -> None:
    """Write the archive of the image ``name``."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        root, layer = Path(directory) / "root", Path(directory) / "layer.tar"
        root.mkdir()
        _assemble(root)
        pythonroot.pack(root, layer, writable=HOME, owner=USER)
        _write(output, layer, name)


def dependencies(package: str, extra: str = "") -> set[str]:
    """Return the names of all distributions that one needs here, with those that these need."""
    found = {package}
    for line in distribution(package).requires or ():
        wanted = Requirement(line)
        if (not wanted.marker or wanted.marker.evaluate({"extra": extra})) and wanted.name not in found:
            found |= dependencies(wanted.name)
    return found


def _assemble(root: Path) -> None:
    keygen = shutil.which("ssh-keygen")
    if not keygen:
        sys.exit("ssh-keygen is missing; install openssh-client")
    site = pythonroot.assemble(root, sorted(dependencies("fps-bundle") - {"fps-bundle"}), [Path(keygen)])
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-build-isolation",
    ]
    subprocess.run([*install, "--no-compile", "--target", str(site), str(ROOT)], check=True)
    commands = ", ".join(
        f"bundler.cli.{path.stem}" for path in sorted((site / "bundler/cli").glob("*.py")) if path.stem != "__init__"
    )
    pythonroot.compile_modules(root, [site], f"bundler.__main__, runpy, site, {commands}")
    shutil.rmtree(site / "bin", ignore_errors=True)  # scripts for the Python of this environment
    program = root / "usr/bin/fps-bundle"
    program.write_text(f"#!{pythonroot.PYTHON}\nfrom bundler.__main__ import main\n\nmain()\n")
    program.chmod(0o755)
    if _CERTIFICATES.exists():
        pythonroot.copy_file(_CERTIFICATES, root)
    for directory in (".docker", ".local/share", ".local/state"):  # else a runtime that mounts something there makes them, as root
        (root / HOME / directory).mkdir(parents=True)
    with (root / "etc/passwd").open("a") as users:
        users.write(f"fps-bundle:x:{USER}:{USER}:fps-bundle:/{HOME}:/bin/false\n")
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")


def _write(output: Path, layer: Path, name: str) -> None:
    with layer.open("rb") as content:
        diff_id = hashlib.file_digest(content, "sha256").hexdigest()
    config = _json(_config(diff_id))
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", _digest(config), len(config)),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", diff_id, layer.stat().st_size)],
        }
    )
    entry = _descriptor("application/vnd.oci.image.manifest.v1+json", _digest(manifest), len(manifest))
    entry["annotations"] = {
        "io.containerd.image.name": f"docker.io/library/{name}",
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    docker = [{"Config": _blob(_digest(config)), "RepoTags": [name], "Layers": [_blob(diff_id)]}]
    temporary = output.with_name(f"{output.name}.part")
    with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", _json({"schemaVersion": 2, "manifests": [entry]}))
        _add(tar, "manifest.json", _json(docker))
        _add(tar, _blob(_digest(config)), config)
        _add(tar, _blob(_digest(manifest)), manifest)
        member = tarfile.TarInfo(_blob(diff_id))
        member.size = layer.stat().st_size
        with layer.open("rb") as content:
            tar.addfile(member, content)
    temporary.replace(output)


def _config(diff_id: str) -> dict[str, Any]:
    return {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {
            "User": str(USER),
            "Env": [f"HOME=/{HOME}", f"PYTHONHOME={sys.base_prefix}", "PYTHONDONTWRITEBYTECODE=1", "PATH=/usr/bin:/bin"],
            "Entrypoint": ["/usr/bin/fps-bundle"],
            "WorkingDir": f"/{HOME}",
            "Labels": {"org.opencontainers.image.title": "fps-bundle", "org.opencontainers.image.version": version("fps-bundle")},
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
    }


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest}"


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "fps-bundle-image.tar")
    parser.add_argument("--name", default=f"fps-bundle:{version('fps-bundle')}", metavar="NAME:TAG")
    arguments = parser.parse_args()
    build(arguments.output, arguments.name)
    print(arguments.output)
