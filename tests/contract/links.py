"""A registry behind a link that fails, as the tests of the registry store see it."""

from __future__ import annotations

import hashlib

import requests

from bundler.format.reference import RegistryReference
from bundler.stores.registry.limits import Limits
from bundler.stores.registry.store import RegistryStore

LIMITS = Limits(parallel=1, timeout=1.0, patience=0.01)
"""One request after the other, so that they can be counted."""


def store(address: str, repository: str, tag: str = "1") -> RegistryStore:
    """A store that waits no longer than a test can bear."""
    return RegistryStore(RegistryReference(address, repository, tag), plain_http=True, limits=LIMITS)


def standing(address: str, repository: str, tag: str = "1") -> str:
    """The digest of what a tag names, after every byte of it was hashed; empty when there is no tag. Without our own client."""
    with requests.Session() as session:
        session.trust_env = False
        url = f"http://{address}/v2/{repository}"
        answer = session.get(f"{url}/manifests/{tag}", headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})
        if answer.status_code == 404:
            return ""
        manifest = answer.json()
        for blob in [manifest["config"], *manifest["layers"]]:
            data = session.get(f"{url}/blobs/{blob['digest']}").content
            assert (f"sha256:{hashlib.sha256(data).hexdigest()}", len(data)) == (blob["digest"], blob["size"])
        return f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
