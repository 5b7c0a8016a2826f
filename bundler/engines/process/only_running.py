"""What an engine offers, and a process that is running already does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from bundler.errors import EngineError
from bundler.format.image_archive import NewImage
from bundler.ports import Container, Image, RunOptions
from bundler.streams import Readable


class OnlyRunning:
    """Refuses to start, change or make containers and images: no engine is asked for the container of a process."""

    def refusal(self, what: str) -> EngineError:
        return EngineError(
            f"cannot {what} without an engine: only the running container of a process is read", hint="Use an engine."
        )

    def logs(self, container: Container) -> str:
        raise self.refusal(f"read the log of {container.name}")

    def put(self, container: Container, archive: Iterator[bytes]) -> None:
        del archive
        raise self.refusal(f"write into {container.name}")

    def started(self, container: Container) -> AbstractContextManager[Container]:
        raise self.refusal(f"start {container.name}")

    def running(self, image: Image, options: RunOptions, *, keep: bool) -> AbstractContextManager[Container]:
        del options, keep
        raise self.refusal(f"run the image {image.id}")

    def check_replaceable(self, old: Container) -> None:
        raise self.refusal(f"replace {old.name}")

    def replaced(self, old: Container, image: Image, name: str, exports: Sequence[str]) -> AbstractContextManager[Container]:
        del image, name, exports
        raise self.refusal(f"replace {old.name}")

    def exchanged(self, current: Container) -> AbstractContextManager[Container]:
        raise self.refusal(f"replace {current.name}")

    def probed(self, container: Container) -> Container:
        raise self.refusal(f"look at the health of {container.name}")

    def saved(self, image: Image) -> AbstractContextManager[Readable]:
        raise self.refusal(f"save the image {image.id}")

    def holding(self, new: NewImage) -> Image | None:
        del new
        raise self.refusal("look for an image")

    def committed(self, container: Container) -> AbstractContextManager[Image]:
        raise self.refusal(f"commit {container.name}")

    def tag(self, image: Image, name: str) -> None:
        raise self.refusal(f"tag the image {image.id} as {name}")
