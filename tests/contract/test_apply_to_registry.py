"""An image without an engine in a real registry: what travels, what goes on after a fault, and what is refused."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faults
import images
import pytest
from bundles import BASE, bundle
from disks import small_disk
from exchange import Fault
from fakes import FakeSigner, FakeVerifier, MemoryStore, RecordingProgress, file, tree
from faultproxy import FaultProxy, fault_proxy
from typer.testing import CliRunner

from bundler.api.images import repository
from bundler.api.stores import StoreOptions, open_store
from bundler.bundle import read_bundle
from bundler.cli.main import app
from bundler.errors import (
    AuthorizationError,
    BaseMismatchError,
    BundlerError,
    BusyError,
    IntegrityError,
    NoSpaceError,
    StoreError,
    TrustError,
    UsageError,
)
from bundler.format import artifact
from bundler.format.image_compression import ImageCompression
from bundler.format.metadata import Platform
from bundler.format.oci_image import LAYER_GZIP
from bundler.format.reference import RegistryReference, parse
from bundler.stores.archive.split_artifact import SplitTarget
from bundler.stores.delta.store import DeltaStore
from bundler.stores.registry.images import RegistryImages
from bundler.trust import signing
from bundler.trust.admission import Admission
from bundler.trust.policy import Policy
from bundler.verbs import copy
from bundler.verbs.apply_to import ApplyToOptions, ApplyToResult

SIZE = 1 << 20
LARGE = (random.Random(1).randbytes(SIZE), b"layer 1")
"""The layers of a base that is large enough to be seen when it travels."""
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, below in {"FPS_BUNDLE_STORE": "store", "XDG_STATE_HOME": "state", "XDG_CONFIG_HOME": "config"}.items():
        monkeypatch.setenv(name, str(tmp_path / below))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def place(registry: str) -> Iterator[Place]:
    with fault_proxy(registry) as proxy:
        yield Place(registry, proxy, f"to/{next(_numbers)}")


class Place:
    """One test's repositories of the registry, with the log of the requests that it got."""

    def __init__(self, registry: str, proxy: FaultProxy, name: str) -> None:
        self.registry = registry
        self.proxy = proxy
        self.name = name

    def at(self, repository: str) -> str:
        """A repository, behind the proxy."""
        return f"{self.proxy.address}/{self.name}/{repository}"

    def base(self, image: images.OrdinaryImage | None = None) -> str:
        images.in_registry(self.registry, f"{self.name}/base", image or images.made(LARGE))
        return self.at("base:1")

    def bundle(self, content: bytes = b"data", **changes: Any) -> str:
        """A bundle on the large base in a repository."""
        source = MemoryStore()
        bundle(
            source, tree(file("/s/f", content), file("/s/noise", random.Random(2).randbytes(SIZE))), **{"base": RECORDED, **changes}
        )
        tag = f"t{next(_numbers)}"
        copy.copy(source, open_store(self.at(f"bundles:{tag}")), RecordingProgress())
        self.proxy.forget()
        return self.at(f"bundles:{tag}")

    def sent(self) -> list[tuple[str, str]]:
        """The requests with which content was sent."""
        sending = ("PUT", "PATCH")
        return [(it.method, it.path.partition(self.name)[2].partition("?")[0]) for it in self.proxy.records if it.method in sending]


def _recorded() -> Any:
    from bundler.format import image
    from bundler.format.content import Digest

    diff_ids = tuple(map(Digest.of, LARGE))
    return BASE.model_copy(update={"diff_ids": diff_ids, "chain_id": image.chain_id(diff_ids)})


RECORDED = _recorded()


def apply(source: str, to: str, base: str | None, admission: Admission | None = None, **options: Any) -> ApplyToResult:
    from applied import UNCONFIGURED

    from bundler.api.images import apply_to

    admission = admission or UNCONFIGURED
    options_to = ApplyToOptions(**options)
    return apply_to(open_store(source), to, base=base, admission=admission, options=options_to, progress=RecordingProgress())


def manifest_at(reference: str) -> dict[str, Any]:
    store = open_store(reference)
    document: dict[str, Any] = json.loads(store.manifest(store.resolve()))
    return document


def test_with_everything_in_one_registry_only_config_and_manifest_travel(place: Place) -> None:
    base, source = place.base(), place.bundle()
    first = apply(source, place.at("image:7"), base)
    place.proxy.forget()
    second = apply(source, place.at("another:7"), base)
    assert (second.digest, second.config_digest) == (first.digest, first.config_digest)
    mounts = [it.status for it in place.proxy.records if "mount=" in it.path]
    assert mounts == [201, 201, 201]
    manifests = [path for method, path in place.sent() if "/manifests/" in path]
    assert manifests == [f"/another/manifests/{second.digest}", "/another/manifests/7"]
    blobs = [it for it in place.sent() if "/manifests/" not in it[1]]
    assert [method for method, _ in blobs] == ["PUT"], "the config in one piece"
    assert second.sent < 10_000
    assert place.proxy.traffic.up < 50_000
    assert place.proxy.traffic.down < 50_000, "this host has verified the layers before"


def test_the_layers_of_a_signed_bundle_are_not_read(place: Place) -> None:
    base, source = place.base(), place.bundle()
    store = open_store(source)
    signing.sign(read_bundle(store), store, FakeSigner("a"), FakeVerifier(), 7, lambda wanted: wanted or 1)
    place.proxy.forget()
    apply(source, place.at("image:7"), base, trusting())
    assert place.proxy.traffic.down < 50_000
    assert place.proxy.traffic.up < 50_000


def trusting() -> Admission:
    return Admission.by_policy(Policy(allowed_signers=Path("x")), FakeVerifier(a="alice"))


def test_an_older_bundle_is_refused_in_the_same_repository(place: Place) -> None:
    base = place.base()
    for number, name in ((7, "newer"), (6, "older")):
        source = place.bundle(name.encode())
        store = open_store(source)
        signing.sign(read_bundle(store), store, FakeSigner("a"), FakeVerifier(), number, lambda wanted: wanted or 1)
        if number == 7:
            assert apply(source, place.at("image:7"), base, trusting()).new_signers == ["alice"]
    with pytest.raises(TrustError, match=r"refusing to downgrade: .* sequence 6"):
        apply(source, place.at("image:8"), base, trusting())
    assert apply(source, place.at("other:7"), base, trusting()).new_signers == ["alice"], "another repository has its own record"
    assert repository(RegistryReference("r.example", "team/x", "1")) == "r.example/team/x"


def test_a_registry_that_refuses_mounts_gets_the_blobs(place: Place) -> None:
    base, source = place.base(), place.bundle()
    place.proxy.fail(faults.answer(403), part="mount=", times=1)
    place.proxy.fail(faults.answer(405), part="mount=", times=1)
    place.proxy.fail(faults.answer(400), part="mount=", times=1)
    result = apply(source, place.at("image:7"), base)
    assert result.sent > 2 * SIZE
    assert len(manifest_at(place.at("image:7"))["layers"]) == 3


def test_a_registry_that_refuses_zstd_layers(place: Place) -> None:
    base, source = place.base(), place.bundle()
    place.proxy.fail(faults.answer(400), method="PUT", part="/manifests/sha256:")
    with pytest.raises(StoreError, match="answered 400 to PUT") as caught:
        apply(source, place.at("image:7"), base)
    assert "--layer-compression gzip" in caught.value.hint
    result = apply(source, place.at("image:7"), base, compression=ImageCompression.gzip)
    assert {layer["mediaType"] for layer in manifest_at(place.at("image:7"))["layers"]} == {LAYER_GZIP}
    assert result.existed is False
    assert apply(source, place.at("image:7"), base, compression=ImageCompression.gzip).existed


def test_an_interrupted_run_goes_on_and_a_second_one_writes_nothing(place: Place, home: Path) -> None:
    place.base()
    base, source = images.in_layout(home / "base", images.made(LARGE)), place.bundle()
    place.proxy.fail(faults.answer(400), method="PUT", part="/manifests/")
    with pytest.raises(StoreError):
        apply(source, place.at("image:7"), base)
    again = apply(source, place.at("image:7"), base)
    assert (again.sent, again.existed) == (0, False)
    place.proxy.forget()
    third = apply(source, place.at("image:7"), base)
    assert (third.existed, third.digest, place.sent()) == (True, again.digest, [])


@pytest.mark.parametrize("refusal", [faults.unauthorized(), faults.answer(403)], ids=str)
def test_without_permission_the_exit_code_is_7(place: Place, refusal: Fault) -> None:
    base, source = place.base(), place.bundle()
    place.proxy.fail(refusal, method="PUT", part="/manifests/", times=10)
    with pytest.raises(AuthorizationError) as caught:
        apply(source, place.at("image:7"), base)
    assert caught.value.exit_code == 7


def test_a_base_that_may_not_be_read_is_exit_code_7(place: Place) -> None:
    base, source = place.base(), place.bundle()
    place.proxy.fail(faults.answer(403), part="/base/", times=10)
    with pytest.raises(AuthorizationError):
        apply(source, place.at("image:7"), base)


def test_the_base_is_found_under_its_recorded_names_in_the_registry_of_the_destination(place: Place) -> None:
    place.base()
    names = ("nowhere.invalid/elsewhere/model:1", f"other.invalid/{place.name}/base:1")
    source = place.bundle(base=RECORDED.model_copy(update={"names": names}))
    result = apply(source, place.at("image:7"), None)
    assert result.base
    assert result.base.name == place.at("base:1")


def test_a_base_that_is_found_nowhere(place: Place) -> None:
    images.in_registry(place.registry, f"{place.name}/base", images.made((b"other",)))
    source = place.bundle(base=RECORDED.model_copy(update={"names": (f"{place.name}/base:1", f"{place.name}/missing:1")}))
    with pytest.raises(BaseMismatchError, match="was not found") as caught:
        apply(source, place.at("image:7"), None)
    assert caught.value.mismatches[0].what == "number of layers"
    assert place.sent() == []


def test_an_index_in_dockers_media_types(place: Place) -> None:
    arm = Platform(os="linux", architecture="arm64")
    several = images.indexed(
        (images.made((b"arm",), docker=True), arm), (images.made(LARGE, docker=True), BASE.platform), docker=True
    )
    apply(place.bundle(), place.at("image:7"), place.base(several))
    manifest = manifest_at(place.at("image:7"))
    assert [layer["mediaType"] for layer in manifest["layers"]] == [LAYER_GZIP, LAYER_GZIP, artifact.LAYER]
    assert manifest["config"]["mediaType"] == artifact.IMAGE_CONFIG


def test_a_config_with_another_content_is_refused(place: Place) -> None:
    base, source = place.base(), place.bundle()
    config = manifest_at(base)["config"]["digest"]
    place.proxy.fail(faults.flip(), method="GET", part=config, times=5)
    with pytest.raises(IntegrityError):
        apply(source, place.at("image:7"), base)
    assert place.sent() == []


def test_the_image_before_stays_under_another_tag(place: Place) -> None:
    base = place.base()
    first = apply(place.bundle(b"first"), place.at("image:7"), base)
    second = apply(place.bundle(b"second"), place.at("image:7"), base, keep_previous=True)
    assert second.previous == "7-previous"
    assert open_store(place.at("image:7-previous")).resolve().digest == first.digest
    assert open_store(place.at("image:7")).resolve().digest == second.digest


def test_an_image_of_another_tool_and_a_bundle_are_not_replaced(place: Place) -> None:
    base, source = place.base(), place.bundle()
    with pytest.raises(UsageError, match="names an image that fps-bundle did not make"):
        apply(source, base, base)
    with pytest.raises(UsageError, match="names a bundle"):
        apply(source, source, base, force=True)
    apply(source, base, base, force=True)


def test_a_tag_that_moves_meanwhile_is_exit_code_12(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    base, source, other = place.base(), place.bundle(), images.made((b"other",))
    upload = RegistryImages.upload_image

    def racing(store: RegistryImages, *, resumes: bool) -> Any:
        images.in_registry(place.registry, f"{place.name}/image", other, "7")
        return upload(store, resumes=resumes)

    monkeypatch.setattr(RegistryImages, "upload_image", racing)
    with pytest.raises(BusyError) as caught:
        apply(source, place.at("image:7"), base)
    assert caught.value.exit_code == 12
    assert open_store(place.at("image:7")).resolve().digest == other.digest


def test_split_bundles_and_deltas_are_read_as_the_bundle(place: Place) -> None:
    base, whole = place.base(), place.bundle()
    kinds = {"whole": whole, "split": place.at("split:1"), "delta": place.at("delta:1")}
    copy.copy(open_store(whole), SplitTarget(open_store(kinds["split"]), 256 << 10, RecordingProgress()), RecordingProgress())
    older = place.bundle(b"older")
    for arguments in (("copy", older, "model:1"), ("copy", whole, kinds["delta"], "--delta-from", "model:1")):
        outcome = CliRunner().invoke(app, arguments)
        assert outcome.exit_code == 0, outcome.output
    digests = [apply(source, place.at(f"image:{kind}"), base).digest for kind, source in kinds.items()]
    assert len(set(digests)) == 1
    delta = open_store(kinds["delta"])
    assert delta.resolve().digest == open_store(whole).resolve().digest
    assert isinstance(delta, DeltaStore)
    assert delta.delta, "it is not the bundle itself that was copied"


def test_the_same_config_wherever_the_image_is_written(place: Place, home: Path) -> None:
    base, source = place.base(), place.bundle()
    made = [apply(source, to, base) for to in (place.at("image:7"), "oci:new:7", "oci-archive:new.tar:7")]
    assert len({it.config_digest for it in made}) == 1
    assert len({it.digest for it in made}) == 1
    layout = images.in_layout(home / "base", images.made(LARGE, docker=True))
    assert apply(source, "oci:new:8", layout).digest == made[0].digest


@pytest.mark.parametrize("to", ["oci:{}/new:7", "oci-archive:{}/new.tar:7"])
def test_a_full_disk_is_exit_code_11_and_leaves_no_name(place: Place, home: Path, to: str) -> None:
    base, source = place.base(), place.bundle()
    with small_disk(home / "disk", SIZE) as disk:
        for check_space in (True, False):
            with pytest.MonkeyPatch.context() as patch:
                if not check_space:  # as when another program takes the space meanwhile
                    patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1 << 40, 0, 1 << 40))
                with pytest.raises(NoSpaceError) as caught:
                    apply(source, to.format(disk), base)
            assert caught.value.exit_code == 11
            assert not list(disk.rglob(".fps-bundle-part-*"))
            assert not (disk / "new.tar").exists()
            if (disk / "new").exists():
                assert json.loads((disk / "new" / "index.json").read_text())["manifests"] == []


def test_the_command(place: Place) -> None:
    base, source = place.base(), place.bundle()
    to = place.at("image:7")
    planned = CliRunner().invoke(app, ["apply", source, "--to", to, "--base", base, "--dry-run"])
    assert (planned.exit_code, "would be written to" in planned.stderr) == (0, True)
    assert place.sent() == []
    done = CliRunner().invoke(app, ["apply", source, "--to", to, "--base", base])
    assert done.stdout == planned.stdout
    assert done.stdout.split()[::2] == ["config", "manifest"]
    again = CliRunner().invoke(app, ["apply", source, "--to", to, "--base", base])
    assert "exists already" in again.stderr
    refused = [
        (2, ["apply", source, "--to", "model:7", "--base", base]),
        (2, ["apply", source, "--to", to, "--tag", "x:1"]),
        (2, ["apply", source, "--layer-compression", "gzip"]),
        (6, ["apply", source, "--to", to, "--base", place.at("base:2")]),
    ]
    for code, arguments in refused:
        outcome = CliRunner().invoke(app, arguments)
        assert outcome.exit_code == code, (arguments, outcome.output)


def test_an_unknown_registry_is_a_store_error(place: Place) -> None:
    source = place.bundle()
    with pytest.raises(BundlerError) as caught:
        apply(source, "127.0.0.1:9/x:1", place.base())
    assert caught.value.exit_code == 5
    assert isinstance(parse("127.0.0.1:9/x:1"), RegistryReference)
    assert StoreOptions().plain_http is False
