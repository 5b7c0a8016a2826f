from __future__ import annotations

import pytest
from fakes import container

from bundler.errors import ModelError, UsageError
from bundler.verbs import endpoint


@pytest.mark.parametrize(
    ("changes", "labels", "port", "expected"),
    [
        ({}, {}, None, "10.0.0.2:50051"),
        ({"exposed": (80, 50051)}, {endpoint.PORT_LABEL: "50051"}, None, "10.0.0.2:50051"),
        ({"exposed": (80, 50051)}, {endpoint.PORT_LABEL: "50051"}, 80, "10.0.0.2:80"),
        ({"exposed": ()}, {}, 7, "10.0.0.2:7"),
        ({}, {endpoint.PORT_LABEL: "1"}, None, "10.0.0.2:1"),
        ({"published": {50051: "127.0.0.1:32768"}}, {}, None, "127.0.0.1:32768"),
        ({"published": {50051: "127.0.0.1:32768"}, "addresses": ()}, {}, None, "127.0.0.1:32768"),
        ({"published": {80: "127.0.0.1:32768"}}, {}, None, "10.0.0.2:50051"),
    ],
)
def test_where_the_migrator_is_found(changes: dict[str, object], labels: dict[str, str], port: int | None, expected: str) -> None:
    assert endpoint.find(container(**changes), labels, port) == expected


@pytest.mark.parametrize("exposed", [(), (80, 81)])
def test_no_only_port_asks_for_one_and_names_those_there_are(exposed: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="80, 81" if exposed else "none") as caught:
        endpoint.find(container(exposed=exposed), {}, None)
    assert "--port" in caught.value.hint


@pytest.mark.parametrize("label", ["", "0", "65536", "-1", "grpc", "5_0", "²", " 80"])
def test_a_label_that_is_no_port_is_refused(label: str) -> None:
    with pytest.raises(ModelError, match="is not a port"):
        endpoint.find(container(), {endpoint.PORT_LABEL: label}, None)


def test_a_container_without_a_network_says_how_to_publish() -> None:
    with pytest.raises(ModelError, match="cannot be reached") as caught:
        endpoint.find(container(addresses=()), {}, None)
    assert "127.0.0.1::50051" in caught.value.hint


@pytest.mark.parametrize("given", ["127.0.0.1:50051", "detector.local:1", "[::1]:65535"])
def test_an_endpoint_is_a_host_and_a_port(given: str) -> None:
    assert endpoint.check(given) == given


@pytest.mark.parametrize("given", ["", "nonsense", ":50051", "host:", "host:port", "host:0", "host:65536", "http://host"])
def test_what_is_no_endpoint_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="is not an endpoint"):
        endpoint.check(given)
