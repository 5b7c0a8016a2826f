"""A registry behind a link that fails, as the tests of the registry store see it."""

from __future__ import annotations

import hashlib

import requests

from bundler.format.reference import RegistryReference
from bundler.stores.registry.limits import Limits
from bundler.stores.registry.store import RegistryStore

PATIENT = 120.0
"""Seconds that no answer takes, on any machine: for a link that fails without being silent."""


def store(address: str, repository: str, tag: str = "1", timeout: float = 1.0) -> RegistryStore:
    """A store that sends one request after the other, so that they can be counted; a silent link costs it ``timeout`` seconds."""
    limits = Limits(parallel=1, timeout=timeout, patience=0.01)
    return RegistryStore(RegistryReference(address, repository, tag), plain_http=True, limits=limits)


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
