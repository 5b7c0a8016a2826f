"""Check whether a bundle can be applied to an image."""

from __future__ import annotations

from collections.abc import Sequence

from bundler.errors import Mismatch
from bundler.format.content import Digest
from bundler.format.image import chain_id
from bundler.format.metadata import Base, Platform


def check(recorded: Base, platform: Platform, diff_ids: Sequence[Digest]) -> list[Mismatch]:
    """All ways in which a local image is not the base that a bundle was made on; none means that it fits."""
    mismatches = []
    if recorded.platform != platform:
        mismatches.append(Mismatch("platform", str(recorded.platform), str(platform)))
    if len(recorded.diff_ids) != len(diff_ids):
        mismatches.append(Mismatch("number of layers", str(len(recorded.diff_ids)), str(len(diff_ids))))
    for number, (wanted, found) in enumerate(zip(recorded.diff_ids, diff_ids, strict=False), start=1):
        if wanted != found:
            mismatches.append(Mismatch(f"diff ID of layer {number}", str(wanted), str(found)))
            break
    if tuple(recorded.diff_ids) != tuple(diff_ids):
        mismatches.append(Mismatch("chain ID", str(recorded.chain_id), str(chain_id(diff_ids))))
    return mismatches
