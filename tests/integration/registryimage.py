"""An image in a registry as a build service pushes it: compressed again, and in an index beside a manifest of attestations."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import Any

import requests
from world import MODEL, Host

_OCI = "application/vnd.oci.image"


def push_attested(host: Host, registry: str, repository: str) -> None:
    """Put the example model into a registry as ``REPOSITORY:1``."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(host.api.get_image(MODEL)))) as saved:

        def read(name: str) -> bytes:
            file = saved.extractfile(name)
            assert file
            return file.read()

        described = json.loads(read("manifest.json"))[0]
        config = read(described["Config"])
        layers = [gzip.compress(read(name), 1, mtime=0) for name in described["Layers"]]
    place = f"http://{registry}/v2/{repository}"
    image = _put_manifest(
        place,
        {
            "config": _put_blob(place, config, f"{_OCI}.config.v1+json"),
            "layers": [_put_blob(place, layer, f"{_OCI}.layer.v1.tar+gzip") for layer in layers],
        },
    )
    statement = b"{}"
    attestation = _put_manifest(
        place,
        {
            "config": _put_blob(place, _unknown(statement), f"{_OCI}.config.v1+json"),
            "layers": [_put_blob(place, statement, "application/vnd.in-toto+json")],
        },
    )
    attestation |= {
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image["digest"]},
    }
    image["platform"] = {"os": "linux", "architecture": json.loads(config)["architecture"]}
    _put(place, "1", {"mediaType": f"{_OCI}.index.v1+json", "manifests": [image, attestation]})


def _unknown(statement: bytes) -> bytes:
    root = {"type": "layers", "diff_ids": [_digest(statement)]}
    return json.dumps({"os": "unknown", "architecture": "unknown", "config": {}, "rootfs": root}).encode()


def _put_blob(place: str, data: bytes, media_type: str) -> dict[str, Any]:
    location = requests.post(f"{place}/blobs/uploads/", timeout=60).headers["Location"]
    requests.put(location, params={"digest": _digest(data)}, data=data, timeout=60).raise_for_status()
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


def _put_manifest(place: str, content: dict[str, Any]) -> dict[str, Any]:
    return _put(place, None, {"mediaType": f"{_OCI}.manifest.v1+json", **content})


def _put(place: str, tag: str | None, content: dict[str, Any]) -> dict[str, Any]:
    data = json.dumps({"schemaVersion": 2, **content}).encode()
    headers = {"Content-Type": content["mediaType"]}
    url = f"{place}/manifests/{tag or _digest(data)}"
    requests.put(url, data=data, headers=headers, timeout=60).raise_for_status()
    return {"mediaType": content["mediaType"], "digest": _digest(data), "size": len(data)}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
