"""The tree that ``inspect`` prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from rich.tree import Tree

from bundler.bundle import Bundle
from bundler.cli.console import counted, safe, size
from bundler.format import image, launch
from bundler.format.delta_manifest import DeltaManifest


def bundle_tree(where: str, bundle: Bundle, signatures: Sequence[str], delta: DeltaManifest | None = None) -> Tree:
    """Return the properties of a bundle: model, source, base, signatures, settings, exported paths, layers, lineage.

    ``delta`` is what is stored in place of the bundle.
    """
    metadata, manifest = bundle.metadata, bundle.manifest
    model, base = metadata.model, metadata.base
    base_layers = counted(len(base.diff_ids), "layer")
    tree = Tree(Text(safe(f"{where}  {size(manifest.size)}"), style="bold"))
    _add(tree, f"digest   {bundle.digest}")
    if delta:
        _add(tree, f"delta    {size(delta.size)}, from {delta.source.name}")
    _add(tree, f"model    {model.title} {model.version}" + (f", {model.vendor}" if model.vendor else ""))
    source = metadata.source
    host = f" on {source.host_name}" if source.host_name else ""
    _add(tree, f"source   container {source.container_name}{host}, {source.engine}")
    _add(tree, f"made     {metadata.created} by {metadata.tool.name} {metadata.tool.version}")
    _add(
        tree,
        f"base     {', '.join(base.names) or base.image_id}  {base.platform}, {base_layers}, chain {base.chain_id}",
    )
    for signature in signatures or ["not signed"]:
        _add(tree, signature)
    _add_settings(tree, bundle)
    exports = _add(tree, f"exports  {counted(len(metadata.exports), 'path')}")
    for export in metadata.exports:
        resolved = f" -> {export.resolved}" if export.resolved != export.path else ""
        on_volume = ", on a volume" if export.volume else ""
        entries = counted(export.entries, "entry", "entries")
        _add(exports, f"{export.path}{resolved}  {export.kind}, {entries}, {size(export.size)}{on_volume}")
    layers = _add(tree, f"layers   {len(metadata.layers)}, {size(metadata.size)} uncompressed")
    for descriptor, layer in zip(manifest.layers, metadata.layers, strict=True):
        entries = counted(layer.entries, "entry", "entries")
        _add(layers, f"{descriptor.digest}  {size(descriptor.size)}, {entries}, {size(layer.size)} uncompressed")
    for name, values in (("removed", metadata.removed), ("privileged", metadata.privileged)):
        if values:
            branch = _add(tree, f"{name}  {counted(len(values), 'path')}")
            for value in values:
                _add(branch, value)
    for ancestor in metadata.lineage:
        _add(tree, f"came from {ancestor.digest}, {ancestor.created}")
    return tree


def _add_settings(tree: Tree, bundle: Bundle) -> None:
    """Add the launch settings of the applied image, and the base's value where it differs."""
    restored = image.restored(bundle.metadata)
    changed = {change.setting: change for change in launch.changes(bundle.metadata.base.config, restored)}
    branch = _add(tree, f"runs     {len(changed)} settings differ from the base")
    for setting, value in launch.settings(restored).items():
        of_base = f"  (base: {launch.shown(changed.pop(setting).old)})" if setting in changed else ""
        _add(branch, f"{setting} {launch.shown(value)}{of_base}")
    for change in changed.values():
        _add(branch, f"{change.setting} none  (base: {launch.shown(change.old)})")


def _add(tree: Tree, text: str) -> Tree:
    return tree.add(Text(safe(text)))
