"""The client of an engine: what it refuses to ask, and how long it waits."""

from __future__ import annotations

import pytest

from bundler.engines.connection import LEAST_RATE, TIMEOUT, Client, errors, patience
from bundler.errors import EngineError

CONTAINER = "c" * 64


@pytest.fixture
def client() -> Client:
    """A client of an engine that does not answer."""
    return Client(base_url="http://127.0.0.1:9", version="1.41", timeout=1)


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.inspect_container(CONTAINER),
        lambda client: client.unpause(CONTAINER),
        lambda client: client.pause(CONTAINER),
        lambda client: client.diff(CONTAINER),
        lambda client: client.remove_container(CONTAINER),
        lambda client: client.head(f"{client.base_url}/v1.41/containers/{CONTAINER}/archive"),
        lambda client: client.streaming(CONTAINER).__enter__(),
    ],
)
def test_nothing_is_asked_about_a_container_while_it_is_streamed(client: Client, ask: object) -> None:
    assert callable(ask)
    with client.streaming(CONTAINER), pytest.raises(RuntimeError, match="the engine would not answer"):
        ask(client)
    if "streaming" not in ask.__code__.co_names:
        with pytest.raises(EngineError, match="cannot connect to"), errors(client, "asking"):
            ask(client)  # now it goes on its way


def test_other_containers_are_asked_about_meanwhile(client: Client) -> None:
    with client.streaming(CONTAINER), pytest.raises(EngineError, match="cannot connect to"), errors(client, "asking"):
        client.inspect_container("another")


def test_a_container_may_be_asked_about_after_a_stream_that_failed(client: Client) -> None:
    with pytest.raises(OSError, match="broken"), client.streaming(CONTAINER):
        raise OSError("broken")
    with client.streaming(CONTAINER):
        pass


def test_an_engine_may_be_silent_the_longer_the_more_it_works_on() -> None:
    assert patience(0) == TIMEOUT == 60
    assert patience(600 * LEAST_RATE) == TIMEOUT + 600


@pytest.mark.parametrize("raised", [TimeoutError(), BlockingIOError()])
def test_an_engine_that_is_silent_is_told(client: Client, raised: Exception) -> None:
    with pytest.raises(EngineError, match="timeout while reading: no answer"), errors(client, "reading"):
        raise raised
