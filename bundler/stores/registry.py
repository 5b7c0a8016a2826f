"""Bundles in a registry (OCI distribution spec); the only importer of ``oras``.

oras brings the session, the token exchange and its bookkeeping. Blobs stream through our own verified
upload and download on that session, because oras reads a whole blob into memory, checks no digest
on the way in, has no timeouts, and sleeps for minutes on errors that cannot heal
(docs/adr/0002-oras-as-a-thin-client.md).
"""

from __future__ import annotations

import ipaddress
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

import oras.auth
import oras.provider
import requests
import requests.adapters
import urllib3

from bundler.errors import AuthorizationError, IntegrityError, NoSpaceError, NotFoundError, StoreError
from bundler.format import artifact, document
from bundler.format.content import BLOCK, Begun, Descriptor, Digest, Stream, VerifyingReader
from bundler.format.reference import RegistryReference
from bundler.ports import Named, Opener, Store
from bundler.stores import credentials
from bundler.stores.index import check_digest

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 120.0
"""Seconds without a single byte; a registry hashes a large blob before it answers the last request."""

_RETRIED = (408, 429, 500, 502, 503, 504)


class RegistryStore:
    """One tag or digest of a repository."""

    rereadable = False
    parallel = 1
    ordered = False

    def __init__(self, reference: RegistryReference, *, plain_http: bool = False) -> None:
        self.where = str(reference)
        self._reference = reference
        self._client = _connect(reference.registry, plain_http)

    def resolve(self) -> Descriptor:
        wanted = self._reference.digest or self._reference.tag
        response = self._request("GET", f"manifests/{wanted}", headers={"Accept": artifact.MANIFEST}, stream=True)
        with response:
            data = response.raw.read(document.MAX_SIZE + 1, decode_content=True)
        if len(data) > document.MAX_SIZE:
            raise IntegrityError(f"{self.where}: the manifest is longer than {document.MAX_SIZE} bytes")
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        descriptor = Descriptor.of(media_type, data)
        if self._reference.digest and descriptor.digest != self._reference.digest:
            raise IntegrityError(f"{self.where}: the registry sent another manifest, {descriptor.digest}")
        return descriptor

    def manifest(self, descriptor: Descriptor) -> bytes:
        headers = {"Accept": descriptor.media_type}
        response = self._request("GET", f"manifests/{descriptor.digest}", headers=headers, stream=True)
        return VerifyingReader(_Body(response), descriptor, self.where).read()

    def open(self, blob: Descriptor, begun: Begun | None = None) -> Stream:
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={begun.size if begun else 0}-"}
        response = self._request("GET", f"blobs/{blob.digest}", headers=headers, stream=True, expected=(200, 206))
        return VerifyingReader(_Body(response), blob, self.where, begun)

    def referrers(self, manifest: Descriptor) -> Sequence[Descriptor]:
        del manifest
        return []

    def names(self) -> Sequence[Named]:
        named = []
        for tag in self._tags():
            response = self._request("HEAD", f"manifests/{tag}", headers={"Accept": artifact.MANIFEST})
            digest = Digest.parse(response.headers.get("Docker-Content-Digest"))
            media_type = response.headers.get("Content-Type", "")
            if media_type == artifact.MANIFEST:
                named.append(Named(tag, Descriptor(media_type, digest, int(response.headers.get("Content-Length", 0)))))
        return named

    @contextmanager
    def upload(self, name: str, source: Store | None = None) -> Iterator[RegistryUpload]:
        del name, source  # a registry reference always has a tag
        yield RegistryUpload(self)

    def has(self, blob: Descriptor) -> bool:
        """Whether the registry really holds a blob: its length is asked for, and its last byte fetched.

        A HEAD alone proves nothing: after a garbage collection distribution 2.8.2 answers 200 for
        blobs that are gone.
        """
        url = self._url(f"blobs/{blob.digest}")
        response = self._send("HEAD", url)
        if response.status_code != 200 or response.headers.get("Content-Length") != str(blob.size):
            return False
        last = self._send("GET", url, headers={"Range": f"bytes={blob.size - 1}-", "Accept-Encoding": "identity"}, stream=True)
        with last:
            try:
                return last.status_code in (200, 206) and bool(last.raw.read(1))
            except urllib3.exceptions.HTTPError:  # the headers promise a byte that does not come
                return False

    def put_blob(self, blob: Descriptor, content: Stream) -> None:
        """Upload a blob in one request, as it is read (distribution spec, "Pushing a blob monolithically")."""
        # The request without a body settles the authorization, so that the one with it is sent once.
        session = self._request("POST", "blobs/uploads/", expected=(202,))
        location = self._same_host(urljoin(session.url, session.headers.get("Location", "")), session.url)
        url = f"{location}{'&' if '?' in location else '?'}digest={blob.digest}"
        headers = {"Content-Type": "application/octet-stream"}
        body = _Sized(content, blob.size)
        with self._network_errors():
            response = self._client.session.put(url, data=cast(Any, body), headers=headers | self._authorization())
        self._check(response, (201,))

    def put_manifest(self, data: bytes) -> None:
        check_digest(Descriptor.of(artifact.MANIFEST, data), self._reference.digest, self.where)
        headers = {"Content-Type": artifact.MANIFEST}
        self._request(
            "PUT", f"manifests/{self._reference.digest or self._reference.tag}", headers=headers, data=data, expected=(201,)
        )
        if (found := self.resolve()).digest != Digest.of(data):
            raise StoreError(
                f"{self.where}: the tag names {found.digest} just after it was pushed",
                hint="Somebody else pushed to this tag at the same time; push again if yours shall stand.",
            )

    def _tags(self) -> list[str]:
        tags: list[str] = []
        url: str | None = self._url("tags/list?n=1000")
        while url:
            response = self._check(self._send("GET", url), (200,))
            tags += document.load(response.content, f"{self.where}: the list of tags").get("tags") or []
            following = response.links.get("next", {}).get("url")
            url = self._same_host(urljoin(url, following), url) if following else None
        return tags

    def _same_host(self, url: str, known: str) -> str:
        """Raises `StoreError` for an address that would take our credentials to somebody else."""
        if urlsplit(url)[:2] != urlsplit(known)[:2]:
            raise StoreError(f"{self.where}: the registry sends us on to another host, {urlsplit(url).netloc}")
        return url

    def _url(self, path: str) -> str:
        return f"{self._client.prefix}://{_host(self._reference.registry)}/v2/{self._reference.repository}/{path}"

    def _request(self, method: str, path: str, *, expected: Sequence[int] = (200,), **options: Any) -> requests.Response:
        return self._check(self._send(method, self._url(path), **options), expected)

    def _send(self, method: str, url: str, **options: Any) -> requests.Response:
        """One request by oras, without the waits that it adds, and once more when a token has expired."""
        if self._client.session.auth is not _no_netrc:  # basic: no token has to be fetched
            with self._network_errors():
                answer: requests.Response = self._client.session.request(method, url, **options)
            return answer
        send = oras.provider.Registry.do_request.__wrapped__
        with self._network_errors():
            response: requests.Response = send(self._client, url, method, **options)
            if response.status_code in (401, 403) and getattr(self._client.auth, "token", None):
                response.close()
                self._client.auth.token = None
                response = send(self._client, url, method, **options)
        return response

    @contextmanager
    def _network_errors(self) -> Iterator[None]:
        with _network_errors(self._reference.registry):
            yield

    def _authorization(self) -> dict[str, str]:
        token = getattr(self._client.auth, "token", None)
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _check(self, response: requests.Response, expected: Sequence[int]) -> requests.Response:
        status = response.status_code
        if status in expected:
            return response
        with response:
            reason = _reason(response)
        if status in (401, 403):
            raise _denied(self.where, reason)
        if status == 404:
            raise NotFoundError(
                f"{self.where} is not there: {reason}", hint=f"See what is: fps-bundle list {self.where.split('@')[0]}"
            )
        if status == 507:
            raise NoSpaceError(f"{self.where}: the registry has no space left: {reason}")
        raise StoreError(f"{self.where}: the registry answered {status} to {response.request.method}: {reason}")


class RegistryUpload:
    """A bundle on its way into a repository; its blobs lie there unseen until the manifest comes."""

    def __init__(self, store: RegistryStore) -> None:
        self._store = store
        self._data: dict[Digest, bytes] = {}

    def has(self, blob: Descriptor) -> bool:
        return self._store.has(blob)

    def reserve(self, size: int) -> None:
        """A registry does not tell."""

    def put(self, blob: Descriptor, opened: Opener) -> None:
        with opened() as content:
            self._store.put_blob(blob, content)

    def add(self, manifest: Descriptor, data: bytes) -> None:
        self._data[manifest.digest] = data

    def commit(self, manifest: Descriptor) -> None:
        self._store.put_manifest(self._data[manifest.digest])


def _connect(registry: str, plain_http: bool) -> oras.provider.Registry:
    """A client that has found out how the registry wants to be spoken to."""
    logging.getLogger("oras").setLevel(logging.CRITICAL)  # we raise what it would print
    schemes = ["http"] if plain_http else ["https", "http"] if _is_loopback(registry) else ["https"]
    found = credentials.find(registry)
    for scheme in schemes:
        client = oras.provider.Registry(insecure=scheme == "http")
        client.session = client.auth.session = _session(loopback=_is_loopback(registry))
        try:
            with _network_errors(registry):
                response = client.session.get(f"{scheme}://{_host(registry)}/v2/", stream=True)
        except StoreError:
            if scheme == schemes[-1]:
                raise
            continue
        challenge = response.headers.get("WWW-Authenticate", "").lower()
        response.close()
        if response.status_code == 401 and challenge.startswith("basic"):
            if not found:
                raise _denied(registry, "it wants a user name and a password")
            client.session.auth = (found.user, found.secret)
        elif found:
            client.auth.set_basic_auth(found.user, found.secret)
        _retry(client.session)
        return client
    raise AssertionError("there is always a scheme to try")


def _session(*, loopback: bool) -> requests.Session:
    session = _TimedSession()
    session.trust_env = not loopback  # a proxy of the environment cannot reach our loopback
    session.auth = _no_netrc
    return session


def _retry(session: requests.Session) -> None:
    """From now on repeat what a busy registry or a bad link has failed; urllib3 honours ``Retry-After``.

    No PUT is repeated: the content of a blob has gone by, and the registry would wait for it in vain.
    """
    retry = urllib3.Retry(
        total=4,
        allowed_methods=frozenset(urllib3.Retry.DEFAULT_ALLOWED_METHODS) - {"PUT"},
        backoff_factor=0.5,
        backoff_jitter=0.5,
        backoff_max=20,
        status_forcelist=_RETRIED,
        raise_on_status=False,
    )
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(max_retries=retry))


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leaves a request as it is; without it requests would take credentials out of ``~/.netrc``."""
    return request


class _TimedSession(requests.Session):
    """A session in which no request waits for ever."""

    def request(self, *args: Any, **options: Any) -> requests.Response:
        options["timeout"] = options.get("timeout") or (CONNECT_TIMEOUT, READ_TIMEOUT)
        return super().request(*args, **options)


class _Adapter(requests.adapters.HTTPAdapter):
    """Reads what it uploads in large blocks."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, blocksize=BLOCK, **options)


class _Sized:
    """A stream whose length is known, which makes requests send ``Content-Length`` and not chunks."""

    def __init__(self, content: Stream, size: int) -> None:
        self.read = content.read
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(BLOCK), b"")


class _Body(Stream):
    """The body of a response as a stream whose failures are ours."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response

    def read(self, size: int = -1, /) -> bytes:
        with _network_errors(urlsplit(self._response.url).netloc):
            return bytes(self._response.raw.read(size if size >= 0 else None))

    def close(self) -> None:
        self._response.close()


@contextmanager
def _network_errors(host: str) -> Iterator[None]:
    try:
        yield
    except requests.exceptions.SSLError as error:
        raise StoreError(
            f"{host}: the TLS connection failed: {_root(error)}", hint="For a registry without TLS use --plain-http."
        ) from error
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise StoreError(
            f"{host}: {_root(error)}", hint="Check the address and the link, then run the same command again."
        ) from error
    except ValueError as error:  # how oras says that it could not authenticate
        raise _denied(host, str(error)) from error


def _root(error: BaseException) -> str:
    """The innermost reason, without the layers of wrapping that urllib3 adds."""
    reason: Any = getattr(error, "reason", None) or (error.args[0] if error.args else None)
    if isinstance(reason, BaseException):
        return _root(reason)
    return str(reason or error).rpartition(">: ")[2]


def _reason(response: requests.Response) -> str:
    """The registry's own words (distribution spec, "Error Codes")."""
    try:
        first = json.loads(response.content)
        return str(first["errors"][0].get("message") or first["errors"][0]["code"])[:300]
    except (ValueError, LookupError, TypeError, AttributeError, urllib3.exceptions.HTTPError):
        return response.reason or "no reason given"


def _denied(where: str, reason: str) -> AuthorizationError:
    host = where.partition("/")[0]
    return AuthorizationError(
        f"{where}: the registry refused us: {reason}",
        hint=f"Put credentials for {host} into {credentials.config_file()}, for example with `docker login {host}`.",
    )


def _is_loopback(registry: str) -> bool:
    host = urlsplit(f"//{registry}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host(registry: str) -> str:
    return "registry-1.docker.io" if registry == "docker.io" else registry
