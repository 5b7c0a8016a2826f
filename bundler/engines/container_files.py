"""The files of one container by the engine's API: ``/containers/ID/archive`` and ``/containers/ID/export`` (Docker Engine API)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import AbstractContextManager

from bundler.engines import answers
from bundler.engines.answers import BadAnswer, PathStat
from bundler.engines.connection import TIMEOUT, Client, errors, failure, message, stream, url
from bundler.errors import ModelError, NoSpaceError
from bundler.format import paths
from bundler.ports import PathInfo
from bundler.streams import Readable

_SYMLINK, _DIRECTORY = 1 << 27, 1 << 31  # ModeSymlink and ModeDir of Go's io/fs
# The engine gives 500 for these, as for a failure of its own, so its words are all that tells one from the other.
_NOWHERE = ("not a directory", "too many links", "too many levels of symbolic links", "file name too long")


class ContainerFiles:
    """The files of the container with this name or ID; of a stream of them the engine may be silent for ``silence`` seconds."""

    def __init__(self, api: Client, container: str, silence: float = TIMEOUT) -> None:
        self._api = api
        self._container = container
        self._silence = silence
        self._url = url(api, f"/containers/{container}/archive")

    def stat(self, path: str) -> PathInfo | None:
        found = self._look(path)
        if found is None:
            return None
        return PathInfo(found.link_target if found.mode & _SYMLINK else None, bool(found.mode & _DIRECTORY))

    def size(self, path: str) -> int:
        """Bytes of what stands at a path; 0 where nothing stands."""
        found = self._look(path)
        return found.size if found else 0

    def archive(self, path: str) -> AbstractContextManager[Readable]:
        """The tar of one path."""
        return self._stream(f"reading {path}", "archive", path=paths.to_bytes(path))

    def export(self, path: str) -> AbstractContextManager[Readable]:
        """The tar of all of the container, whatever the path."""
        del path
        return self._stream("reading the container", "export")

    def _stream(self, doing: str, what: str, **parameters: bytes) -> AbstractContextManager[Readable]:
        endpoint = f"/containers/{self._container}/{what}"
        return stream(self._api, doing, endpoint, container=self._container, silence=self._silence, **parameters)

    def put(self, archive: Iterator[bytes], doing: str) -> None:
        """Unpack a tar at the root; raises `ModelError` when the engine refuses what is in it."""
        # At the root, because the engine looks for the targets of hard links from there.
        parameters = {"path": "/", "noOverwriteDirNonDir": "true"}
        with errors(self._api, doing):
            response = self._api.put(self._url, params=parameters, data=archive, timeout=TIMEOUT)
        if not response.ok:
            error = failure(doing, message(response))
            raise error if isinstance(error, NoSpaceError) else ModelError(error.message)

    def _look(self, path: str) -> PathStat | None:
        """What the engine says of a path (``X-Docker-Container-Path-Stat``), or None."""
        with errors(self._api, f"looking at {path}"):
            response = self._api.head(self._url, params={"path": paths.to_bytes(path)}, timeout=TIMEOUT)
            said = response.headers.get("X-Docker-Container-Path-Stat")
            if said is None and response.status_code == 404:  # Podman says 404 of a link that leads nowhere, too
                return None
            if said is None and response.status_code == 500 and self._leads_nowhere(path):
                return None
            if said is None:
                response.raise_for_status()
            return _path_stat(said or "")

    def _leads_nowhere(self, path: str) -> bool:
        """Whether the engine fails because a file or a loop of links is on the way; it says why where an answer has a body."""
        response = self._api.get(self._url, params={"path": paths.to_bytes(path)}, stream=True, timeout=TIMEOUT)
        with response:
            return response.status_code == 500 and any(reason in message(response) for reason in _NOWHERE)


def _path_stat(header: str) -> PathStat:
    try:  # in the standard alphabet of RFC 4648, or in Podman's, the one for URLs
        content = base64.b64decode(header.replace("-", "+").replace("_", "/"))
    except ValueError as error:
        raise BadAnswer(f"X-Docker-Container-Path-Stat: {error}") from error
    return answers.read(PathStat, answers.parse(content))
