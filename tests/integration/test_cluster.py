"""The containers of the Kubernetes examples, run by containerd with the same arguments, user and mounts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sshkeys
from manifests import EXAMPLES, containers, documents
from privatecontainerd import Containerd, private_containerd
from privateengine import ensure
from sshkeys import Key
from world import MODEL, Host

IMAGE = "docker.io/library/fps-bundle:test"
USER = 65532
pytestmark = pytest.mark.usefixtures("base")
SETUP = "import os; os.makedirs('/srv/state'); open('/srv/state/learned', 'w').write('fire')"


def container(manifest: str) -> dict[str, Any]:
    """The container of our image in a manifest."""
    (only,) = containers(documents(EXAMPLES / manifest))
    return only


@dataclass(frozen=True)
class Cluster:
    """containerd with our image, and volumes by the paths where they are mounted."""

    containerd: Containerd
    registry: str
    directory: Path

    def run(self, manifest: str) -> str:
        """Run the container of a manifest with its volumes below `directory`; raises ``RuntimeError`` when it fails."""
        wanted = container(manifest)
        mounts = []
        for mount in wanted["volumeMounts"]:
            access = "ro" if mount.get("readOnly") else "rw"
            mounts += ["--mount", f"type=bind,src={self.directory / mount['name']},dst={mount['mountPath']},options=rbind:{access}"]
        command = ["/usr/bin/fps-bundle", *self.arguments(wanted)]  # `ctr run` leaves the entry point out
        return self.containerd.ctr("run", "--rm", "--net-host", *mounts, IMAGE, "example", *command)

    def arguments(self, wanted: dict[str, Any]) -> list[str]:
        """The arguments of a container, with the registry and the path of this test."""
        return [
            argument.replace("registry.example", self.registry).replace("/opt/model/data", "/srv/state")
            for argument in wanted["args"]
        ]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Our image, built without a network."""
    path = tmp_path_factory.mktemp("image") / "image.tar"
    tool = Path(__file__).resolve().parents[2] / "tools" / "programimage.py"
    subprocess.run([sys.executable, tool, "--output", path, "--name", "fps-bundle:test"], check=True, stdout=subprocess.DEVNULL)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def containerd(archive: Path) -> Iterator[Containerd]:
    with private_containerd() as running:
        running.ctr("images", "import", str(archive))
        yield running


@pytest.fixture
def cluster(containerd: Containerd, registry: str, key: Key, tmp_path: Path) -> Cluster:
    """Volumes as Kubernetes makes them: files of a ConfigMap are links, others belong to the group of the pod."""
    trust = documents(EXAMPLES / "trust.yaml")[0]["data"] | {"allowed_signers": key.line("edge-1").decode()}
    version = tmp_path / "trust" / "..2026"
    version.mkdir(parents=True)
    (tmp_path / "trust" / "..data").symlink_to("..2026")
    for name, text in trust.items():
        (version / name).write_text(text)
        (tmp_path / "trust" / name).symlink_to(f"..data/{name}")
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / "config.json").write_text("{}")
    for name in ("records", "state"):
        (tmp_path / name).mkdir(mode=0o770)
        os.chown(tmp_path / name, 0, USER)
        (tmp_path / name).chmod(0o2770)
    return Cluster(containerd, registry, tmp_path)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return sshkeys.key(tmp_path_factory.mktemp("key") / "id")


@pytest.fixture(scope="module")
def base(builder: Host, registry: str) -> str:
    return builder.push_model(f"{registry}/team/detector-base:1.0")


def test_the_image_is_published_only_with_a_trusted_signature(here: Host, cluster: Cluster, key: Key) -> None:
    bundle, image = (f"{cluster.registry}/{name}" for name in ("team/detector-state:7", "images/detector:stable"))
    here.run_script("detector", ["/srv/state"], SETUP)
    here.must("push", "detector", bundle)
    with pytest.raises(RuntimeError, match="is not signed"):
        cluster.run("publish.yaml")
    with pytest.raises(RuntimeError, match="not found"):
        cluster.containerd.pull(image)
    here.must("sign", bundle, "--sign-key", str(key.path))
    assert "config sha256:" in cluster.run("publish.yaml")
    cluster.containerd.pull(image)
    python = str(here.api.inspect_image(MODEL)["Config"]["Cmd"][0])
    assert cluster.containerd.run(image, "detector", python, "-c", "print(open('/srv/state/learned').read())") == "fire\n"


def test_an_init_container_writes_the_state_once(here: Host, cluster: Cluster, key: Key) -> None:
    """What the model has learned since stays when the pod starts again."""
    here.run_script("detector", ["/srv/state"], SETUP)
    here.must("push", "detector", f"{cluster.registry}/team/detector-state:7", "--sign-key", str(key.path))
    cluster.run("extract.yaml")
    learned = cluster.directory / "state" / "learned"
    assert (learned.read_text(), learned.stat().st_uid) == ("fire", USER)
    learned.write_text("fire and water")
    cluster.run("extract.yaml")
    assert learned.read_text() == "fire and water"


def test_a_job_on_the_node_pushes_the_process_of_a_pod(here: Host, archive: Path, cluster: Cluster) -> None:
    """A container of Docker stands for that of a pod: push.yaml finds it by its host name, and asks no engine."""
    model = here.run_script("detector", ["/srv/state"], SETUP, hostname="detector-0")
    address = next(iter(here.api.inspect_container(model)["NetworkSettings"]["Networks"].values()))["IPAddress"]
    with archive.open("rb") as content:
        assert all("error" not in line for line in here.api.load_image(content))
    shell = ensure("busybox", "busybox-static")  # the image that is built without a network has none
    security = container("push.yaml")["securityContext"]
    host = here.api.create_host_config(
        pid_mode="host",
        network_mode="host",
        cap_add=security["capabilities"]["add"],
        security_opt=["apparmor=unconfined"],
        binds=["/sys/fs/cgroup:/sys/fs/cgroup", f"{shell}:/bin/sh:ro"],
    )
    command = [*container("push.yaml")["command"], *cluster.arguments(container("push.yaml"))]
    job = here.api.create_container(
        "fps-bundle:test",
        entrypoint=command,
        user=str(security["runAsUser"]),
        environment={"MODEL": address},
        host_config=host,
        name="job",
    )
    here.api.start(job)
    code, output = here.api.wait(job)["StatusCode"], here.api.logs(job).decode()
    assert code == 0, output
    date = subprocess.run(["date", "--utc", "+%F"], capture_output=True, text=True, check=True).stdout.strip()
    found = here.must("inspect", f"{cluster.registry}/team/detector-state:{date}", "--json").json
    assert found["digest"] in output
    assert found["metadata"]["source"]["engine"] == "process"
    assert not here.paused(model)
