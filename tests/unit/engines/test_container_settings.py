"""What a replaced container's successor is created with: what differs from the old image, in the form of a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from bundler.engines import answers, container_settings, podman_settings
from bundler.engines.container_settings import Creation, Replacing

ID = "c0ffee" + "0" * 58
VOLUME = "a" * 64
NONE: Mapping[str, Any] = {}
HEALTH = {"Test": ["CMD", "check"], "Interval": 1_000_000_000}
IMAGE = {
    "Env": ["A=1", "B=2"],
    "Cmd": ["serve"],
    "Entrypoint": ["/model"],
    "ExposedPorts": {"50051/tcp": {}},
    "Labels": {"title": "Model"},
    "User": "model",
    "WorkingDir": "/srv",
    "Healthcheck": HEALTH,
    "Volumes": {"/declared": {}},
    "StopSignal": "SIGINT",
}


def document(
    config: Mapping[str, Any] = NONE,
    host: Mapping[str, Any] = NONE,
    networks: Mapping[str, Any] = NONE,
    mounts: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """What an engine reports of a container of the image with all defaults, but for these."""
    return {
        "Id": ID,
        "Name": "/detector",
        "Config": {**IMAGE, "Hostname": ID[:12], "Image": "model:1", **config},
        "HostConfig": {"NetworkMode": "bridge", "ShmSize": 1 << 26, "Memory": 0, "Binds": None, "ConsoleSize": [0, 0], **host},
        "Mounts": list(mounts),
        "NetworkSettings": {"Networks": networks or {"bridge": {"NetworkID": "b" * 64, "Aliases": None}}},
    }


def created(found: Mapping[str, Any], exports: Sequence[str] = (), *, policy: bool = False) -> Creation:
    image = answers.read(answers.InspectedImage, {"Id": "1" * 64, "Config": IMAGE})
    new = Replacing("model:2", exports, {"fps.bundle.container.replaced": ID}, policy)
    return container_settings.creation(answers.read(answers.Settings, found), image, new, "engine-host")


def body(found: Mapping[str, Any], exports: Sequence[str] = ()) -> dict[str, Any]:
    """The request without what every one has."""
    content = dict(created(found, exports).body)
    assert content.pop("Image") == "model:2"
    assert content["Labels"].pop("fps.bundle.container.replaced") == ID
    host = content.pop("HostConfig")
    assert host.pop("ShmSize") == 1 << 26
    return {**{key: value for key, value in content.items() if value != {}}, **({"HostConfig": host} if host else {})}


def host(**options: Any) -> dict[str, Any]:
    """What is requested of ``HostConfig`` beside the network."""
    wanted: dict[str, Any] = body(document(host=options))["HostConfig"]
    assert wanted.pop("NetworkMode") == options.get("NetworkMode", "bridge")
    return wanted


def test_what_a_container_has_of_its_image_is_left_to_the_new_one() -> None:
    assert body(document()) == {"HostConfig": {"NetworkMode": "bridge"}}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("User", "1000:1000"),
        ("WorkingDir", "/tmp"),
        ("StopSignal", "SIGTERM"),
        ("StopTimeout", 0),
        ("Tty", True),
        ("OpenStdin", True),
        ("Domainname", "example.org"),
        ("Hostname", "model-host"),
        ("MacAddress", "02:42:0a:d6:00:4d"),
        ("Healthcheck", {"Test": ["NONE"]}),
        ("Healthcheck", {**HEALTH, "StartPeriod": 5}),
        ("Cmd", ["other"]),
    ],
)
def test_a_setting_that_differs_from_the_image_is_requested(name: str, value: Any) -> None:
    assert body(document({name: value})) == {name: value, "HostConfig": {"NetworkMode": "bridge"}}


@pytest.mark.parametrize(
    ("entrypoint", "command", "wanted"),
    [
        (["/other"], ["serve"], {"Entrypoint": ["/other"], "Cmd": ["serve"]}),
        (["/other"], None, {"Entrypoint": ["/other"], "Cmd": []}),
        (None, ["/bin/serve"], {"Entrypoint": [""], "Cmd": ["/bin/serve"]}),
    ],
)
def test_another_entrypoint_is_requested_with_its_command(entrypoint: Any, command: Any, wanted: dict[str, Any]) -> None:
    found = body(document({"Entrypoint": entrypoint, "Cmd": command}))
    assert found == {**wanted, "HostConfig": {"NetworkMode": "bridge"}}


def test_of_lists_and_maps_only_what_was_added_or_changed_is_requested() -> None:
    changed = {
        "Env": ["A=1", "B=3", "C=4"],
        "Labels": {"title": "Model", "site": "north", "fps.bundle.container.replaced": "d" * 64},
        "ExposedPorts": {"50051/tcp": {}, "9000/udp": {}},
    }
    found = body(document(changed))
    assert found["Env"] == ["B=3", "C=4"]
    assert found["Labels"] == {"site": "north"}
    assert found["ExposedPorts"] == {"9000/udp": {}}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Memory", 1 << 27),
        ("MemorySwap", -1),
        ("MemorySwappiness", 0),
        ("NanoCpus", 500_000_000),
        ("CpusetCpus", "0,1"),
        ("PidsLimit", 100),
        ("OomScoreAdj", -300),
        ("OomKillDisable", True),
        ("Init", False),
        ("Init", True),
        ("IpcMode", "container:abc"),
        ("PidMode", "host"),
        ("CgroupnsMode", "host"),
        ("UsernsMode", "host"),
        ("Runtime", "nvidia"),
        ("Privileged", True),
        ("ReadonlyRootfs", True),
        ("MaskedPaths", []),
        ("ReadonlyPaths", ["/proc/bus"]),
        ("CapAdd", ["NET_ADMIN"]),
        ("CapDrop", ["ALL"]),
        ("GroupAdd", ["44"]),
        ("SecurityOpt", ["no-new-privileges"]),
        ("Sysctls", {"net.ipv4.ip_forward": "1"}),
        ("Ulimits", [{"Name": "nofile", "Soft": 512, "Hard": 1024}]),
        ("Devices", [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "rw"}]),
        ("DeviceRequests", [{"Driver": "", "Count": -1, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {}}]),
        ("DeviceCgroupRules", ["c 1:3 mr"]),
        ("Dns", ["10.0.0.53"]),
        ("DnsSearch", ["example.org"]),
        ("DnsOptions", ["ndots:2"]),
        ("ExtraHosts", ["peer:10.0.0.9"]),
        ("LogConfig", {"Type": "json-file", "Config": {"max-size": "1m"}}),
        ("Tmpfs", {"/scratch": "size=1m"}),
        ("VolumesFrom", ["other:ro"]),
        ("VolumeDriver", "nfs"),
        ("BlkioWeight", 300),
        ("CgroupParent", "/models"),
        ("StorageOpt", {"size": "10G"}),
        ("PublishAllPorts", True),
        ("Binds", ["/data:/data:ro,rslave", "named:/named"]),
        ("Mounts", [{"Type": "bind", "Source": "/etc/model", "Target": "/etc/model", "ReadOnly": True}]),
        ("PortBindings", {"50051/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}),
        ("AnOptionOfTomorrow", {"x": 1}),
    ],
)
def test_a_run_option_is_requested_as_it_is_reported(name: str, value: Any) -> None:
    assert host(**{name: value}) == {name: value}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OomKillDisable", None),
        ("MemorySwappiness", None),
        ("ContainerIDFile", "/run/id"),
        ("AutoRemove", False),
        ("Isolation", ""),
        ("RestartPolicy", {"Name": "always", "MaximumRetryCount": 0}),
        ("PortBindings", {"8080/tcp": None}),
    ],
)
def test_an_option_that_says_nothing_or_comes_later_is_not_requested(name: str, value: Any) -> None:
    assert host(**{name: value}) == {}


def test_the_restart_policy_is_requested_where_it_cannot_be_set_later() -> None:
    found = document(host={"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 5}})
    assert created(found, policy=True).body["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 5}


def test_a_legacy_link_is_requested_in_the_form_of_the_command_line() -> None:
    assert host(Links=["/db:/detector/database"]) == {"Links": ["db:database"]}


@pytest.mark.parametrize("mode", ["host", "container:" + "d" * 64, "none"])
def test_a_container_without_a_network_of_its_own_has_no_endpoints(mode: str) -> None:
    request = created(document({"Hostname": "engine-host"}, {"NetworkMode": mode}, {"host": {}}))
    assert request.networks == {}
    assert "NetworkingConfig" not in request.body
    assert ("Hostname" in request.body) is (mode == "none")


def test_a_chosen_host_name_is_kept_on_the_network_of_the_host() -> None:
    assert created(document({"Hostname": "chosen"}, {"NetworkMode": "host"})).body["Hostname"] == "chosen"


def test_addresses_and_aliases_that_were_requested_are_requested_again() -> None:
    networks = {
        "first": {"IPAMConfig": {"IPv4Address": "10.1.0.7"}, "Aliases": ["detector", ID[:12], "named"], "IPAddress": "10.1.0.7"},
        "second": {"IPAMConfig": None, "Aliases": [ID[:12]], "IPAddress": "10.2.0.9", "DriverOpts": {"x": "y"}},
        "third": {"Links": ["db:database"], "GwPriority": 5},
    }
    request = created(document({"Hostname": "named"}, {"NetworkMode": "first"}, networks))
    assert request.body["NetworkingConfig"] == {
        "EndpointsConfig": {"first": {"IPAMConfig": {"IPv4Address": "10.1.0.7"}, "Aliases": ["detector"]}}
    }
    assert request.networks == {"second": {"DriverOpts": {"x": "y"}}, "third": {"Links": ["db:database"], "GwPriority": 5}}


def test_a_network_mode_may_be_the_id_of_a_network() -> None:
    networks = {"net": {"NetworkID": "e" * 64, "Aliases": ["x"]}}
    request = created(document(host={"NetworkMode": "e" * 64}, networks=networks))
    assert request.body["NetworkingConfig"] == {"EndpointsConfig": {"net": {"Aliases": ["x"]}}}
    assert request.networks == {}


def anonymous(path: str, *, rw: bool = True) -> dict[str, Any]:
    return {"Type": "volume", "Name": VOLUME, "Destination": path, "RW": rw}


@pytest.mark.parametrize("path", ["/cache", "/declared"])
def test_an_anonymous_volume_is_mounted_by_its_name(path: str) -> None:
    found = body(document({"Volumes": {**IMAGE["Volumes"], "/cache": {}}}, mounts=[anonymous(path)]), ["/srv/state"])
    assert found["HostConfig"]["Binds"] == [f"{VOLUME}:{path}"]
    assert found.get("Volumes", {}) == ({} if path == "/cache" else {"/cache": {}})
    read_only = body(document(mounts=[anonymous(path, rw=False)]), ["/srv/state"])
    assert read_only["HostConfig"]["Binds"] == [f"{VOLUME}:{path}:ro"]


@pytest.mark.parametrize("export", ["/cache", "/cache/state", "/"])
def test_an_anonymous_volume_that_overlaps_an_export_is_a_new_one(export: str) -> None:
    found = body(document({"Volumes": {"/cache": {}}}, mounts=[anonymous("/cache")]), [export])
    assert found["Volumes"] == {"/cache": {}}
    assert "Binds" not in found["HostConfig"]


def test_an_anonymous_volume_that_was_taken_over_once_is_taken_over_again() -> None:
    found = document(host={"Binds": [f"{VOLUME}:/cache", "/x:/x"]}, mounts=[anonymous("/cache")])
    assert body(found, ["/srv"])["HostConfig"]["Binds"] == ["/x:/x", f"{VOLUME}:/cache"]
    assert body(found, ["/cache"])["HostConfig"]["Binds"] == ["/x:/x"]


def test_an_anonymous_volume_of_a_mount_gets_its_name_in_the_mount() -> None:
    mount = {"Type": "volume", "Target": "/cache", "VolumeOptions": {"NoCopy": True}}
    found = document(host={"Mounts": [mount]}, mounts=[anonymous("/cache")])
    assert body(found, ["/srv"])["HostConfig"]["Mounts"] == [{**mount, "Source": VOLUME}]
    assert body(found, ["/cache"])["HostConfig"]["Mounts"] == [mount]


@pytest.mark.parametrize(("part", "value"), [("Config", {"Env": "A=1"}), ("HostConfig", {"Binds": "x"}), ("Mounts", [{}])])
def test_an_answer_of_another_shape_is_refused(part: str, value: Any) -> None:
    with pytest.raises(answers.BadAnswer):
        answers.read(answers.Settings, {**document(), part: value})


def podman(**changes: Any) -> answers.PodmanSettings:
    return answers.read(
        answers.PodmanSettings,
        {
            "Config": {"Umask": "0022"},
            "HostConfig": {"CgroupMode": "host", "LogConfig": {"Type": "k8s-file", "Size": "0B"}},
            **changes,
        },
    )


def of_podman(found: Mapping[str, Any], settings: answers.PodmanSettings | None = None, *, keep: bool = False) -> Creation:
    image = answers.read(answers.InspectedImage, {"Id": "1" * 64, "Config": IMAGE})
    return created(podman_settings.in_docker_terms(found, settings or podman(), image.config, keep_addresses=keep))


def test_podman_s_answer_is_converted_to_docker_s_terms() -> None:
    environment = ["C=4", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", "container=podman"]
    found = document(
        {"Env": [*IMAGE["Env"], *environment, f"HOSTNAME={ID[:12]}"], "StopSignal": "2"},
        {
            "NanoCpus": 5,
            "CpuPeriod": 100000,
            "CpuQuota": 50000,
            "MemorySwappiness": -1,
            "Runtime": "oci",
            "LogConfig": {"Type": "json-file", "Config": None},
            "Ulimits": [{"Name": "RLIMIT_NOFILE", "Soft": 1, "Hard": 2}],
            "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": ""}],
        },
    )
    request = of_podman(found)
    options = request.body["HostConfig"]
    assert request.body["Env"] == ["C=4"]
    assert "StopSignal" not in request.body
    assert not {"CpuPeriod", "CpuQuota", "MemorySwappiness", "Runtime"} & set(options)
    assert options["LogConfig"] == {"Type": "k8s-file", "Config": {}}
    assert options["Ulimits"] == [{"Name": "nofile", "Soft": 1, "Hard": 2}]
    assert options["Devices"][0]["CgroupPermissions"] == "rwm"
    assert options["CgroupnsMode"] == "host"


@pytest.mark.parametrize(("reported", "wanted"), [("15", "SIGTERM"), ("10", "SIGUSR1"), ("TERM", "SIGTERM"), ("99", "99")])
def test_the_number_of_a_stop_signal_becomes_its_name(reported: str, wanted: str) -> None:
    assert of_podman(document({"StopSignal": reported})).body["StopSignal"] == wanted


def test_the_log_options_of_podman_are_kept() -> None:
    log = {"Type": "journald", "Tag": "model", "Size": "1MB"}
    options = of_podman(document(), podman(HostConfig={"LogConfig": log})).body["HostConfig"]
    assert options["LogConfig"] == {"Type": "journald", "Config": {"tag": "model", "max-size": "1MB"}}


@pytest.mark.parametrize("keep", [True, False])
def test_the_addresses_of_podman_s_networks_are_requested_if_they_were_before(keep: bool) -> None:
    networks = {"net": {"IPAMConfig": None, "Aliases": ["x", ID[:12]], "IPAddress": "10.1.0.7", "GlobalIPv6Address": "fd00::7"}}
    request = of_podman(document(networks=networks), keep=keep)
    assert request.body["HostConfig"]["NetworkMode"] == "net"
    addresses = {"IPAMConfig": {"IPv4Address": "10.1.0.7", "IPv6Address": "fd00::7"}} if keep else {}
    assert request.body["NetworkingConfig"]["EndpointsConfig"] == {"net": {"Aliases": ["x"], **addresses}}


@pytest.mark.parametrize(
    ("command", "recorded", "keeps"),
    [
        (["podman", "run", "--ip", "10.1.0.7", "model:1"], "", True),
        (["podman", "run", "--network=net:ip=10.1.0.7", "model:1"], "", True),
        (["podman", "run", "--ip6=fd00::7", "model:1"], "", True),
        (["podman", "run", "--network", "net", "model:1"], "", False),
        (["podman", "system", "service"], "", True),
        (["podman", "system", "service"], "assigned", False),
        ([], "", True),
    ],
)
def test_podman_s_command_tells_whether_addresses_were_requested(command: list[str], recorded: str, keeps: bool) -> None:
    assert podman_settings.keeps_addresses(podman(Config={"CreateCommand": command}), recorded) is keeps


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, []),
        ({"Pod": "p"}, ["a pod"]),
        ({"Rootfs": "/root"}, ["--rootfs"]),
        ({"Dependencies": ["d"]}, ["--requires"]),
        ({"Config": {"Secrets": [{}]}}, ["--secret"]),
        ({"Config": {"Umask": "0077"}}, ["--umask 0077"]),
        ({"Config": {"Timeout": 5}}, ["--timeout 5"]),
        ({"Config": {"HealthcheckOnFailureAction": "kill"}}, ["--health-on-failure"]),
        ({"Config": {"CreateCommand": ["podman", "run", "--sysctl=x=1", "--sysctl", "y=2", "m"]}}, ["--sysctl"]),
        (
            {"Config": {"CreateCommand": ["podman", "run", "--device", "nvidia.com/gpu=all", "m"]}},
            ["the device nvidia.com/gpu=all"],
        ),
        ({"Config": {"CreateCommand": ["podman", "run", "--device", "/dev/null", "registry.example/m:1"]}}, []),
    ],
)
def test_options_that_podman_does_not_report_are_named(changes: dict[str, Any], named: list[str]) -> None:
    assert podman_settings.unkept(podman(**changes)) == named
