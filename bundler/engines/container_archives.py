"""Archives of a container's files: ``/containers/ID/archive`` and ``/containers/ID/export`` (Docker Engine API)."""

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
# The engine answers 500 for these, as for an internal failure; only the message tells them apart.
_UNRESOLVABLE = ("not a directory", "too many links", "too many levels of symbolic links", "file name too long")


class ContainerArchives:
    """The files of the container with this name or ID; a stream of them may send nothing for ``silence`` seconds."""

    def __init__(self, api: Client, container: str, silence: float = TIMEOUT) -> None:
        self._api = api
        self._container = container
        self._silence = silence
        self._url = url(api, f"/containers/{container}/archive")

    def stat(self, path: str) -> PathInfo | None:
        stat = self._look_up(path)
        if stat is None:
            return None
        return PathInfo(stat.link_target if stat.mode & _SYMLINK else None, bool(stat.mode & _DIRECTORY))

    def size(self, path: str) -> int:
        """Return the size of a file or directory entry in bytes; 0 if it does not exist."""
        stat = self._look_up(path)
        return stat.size if stat else 0

    def archive(self, path: str) -> AbstractContextManager[Readable]:
        """Stream the tar of one path."""
        return self._stream(f"reading {path}", "archive", path=paths.to_bytes(path))

    def export(self, path: str) -> AbstractContextManager[Readable]:
        """Stream the tar of the whole container, whatever the path."""
        del path
        return self._stream("reading the container", "export")

    def _stream(self, doing: str, what: str, **parameters: bytes) -> AbstractContextManager[Readable]:
        endpoint = f"/containers/{self._container}/{what}"
        return stream(self._api, doing, endpoint, container=self._container, silence=self._silence, **parameters)

    def put(self, archive: Iterator[bytes], doing: str) -> None:
        """Unpack a tar at the root; raises `ModelError` when the engine rejects the content."""
        # At the root, because the engine resolves the targets of hard links from there.
        parameters = {"path": "/", "noOverwriteDirNonDir": "true"}
        with errors(self._api, doing):
            response = self._api.put(self._url, params=parameters, data=archive, timeout=TIMEOUT)
        if not response.ok:
            error = failure(doing, message(response))
            raise error if isinstance(error, NoSpaceError) else ModelError(error.message)

    def _look_up(self, path: str) -> PathStat | None:
        """Return the engine's ``X-Docker-Container-Path-Stat`` for a path, or None."""
        with errors(self._api, f"looking up {path}"):
            response = self._api.head(self._url, params={"path": paths.to_bytes(path)}, timeout=TIMEOUT)
            header = response.headers.get("X-Docker-Container-Path-Stat")
            if header is None and response.status_code == 404:  # also Podman's answer for a dangling link
                return None
            if header is None and response.status_code == 500 and self._is_unresolvable(path):
                return None
            if header is None:
                response.raise_for_status()
            return _path_stat(header or "")

    def _is_unresolvable(self, path: str) -> bool:
        """Whether the path leads through a file or a loop of links; only the answer to a GET has a body with the reason."""
        response = self._api.get(self._url, params={"path": paths.to_bytes(path)}, stream=True, timeout=TIMEOUT)
        with response:
            return response.status_code == 500 and any(reason in message(response) for reason in _UNRESOLVABLE)


def _path_stat(header: str) -> PathStat:
    try:  # standard alphabet of RFC 4648; Podman uses the one for URLs
        content = base64.b64decode(header.replace("-", "+").replace("_", "/"))
    except ValueError as error:
        raise BadAnswer(f"X-Docker-Container-Path-Stat: {error}") from error
    return answers.read(PathStat, answers.parse(content))
