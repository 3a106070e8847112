"""The API's lists out of files: what `kubectl get -o json` writes, or the API's own pages.

A list of another kind is nobody's concern here. A section of which no list is there isn't whole, and says so; of kinds
that not every cluster has, a list that isn't there is taken to be empty, which the section says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from netviz.core.model.check import decoder_words
from netviz.core.state.door import UNREADABLE, fold, sift
from netviz.core.state.node import NodeState, SectionStatus
from netviz.core.state.objects import cluster_source
from netviz.core.wire.kubernetes.api import RESOURCES, Page, Resource
from netviz.core.wire.kubernetes.listing import Listing
from netviz.core.wire.nvz import NvzError


class _Kind(msgspec.Struct, gc=False):
    kind: str = ""


class _File(msgspec.Struct, gc=False):
    kind: str = ""
    items: list[msgspec.Raw] | None = None


_files = msgspec.json.Decoder(_File)
_kinds = msgspec.json.Decoder(_Kind)
_BY_KIND = {one.kind: one for one in RESOURCES}


def _parts(name: str, body: bytes) -> Iterable[tuple[Resource, Page]]:
    """Read a file: a list of one kind, or kubectl's list of objects of any kinds. Raises: NvzError."""
    try:
        file = _files.decode(body)
        kinds = {_kinds.decode(item).kind for item in file.items or ()} if file.kind == "List" else set()
    except UNREADABLE as err:
        raise NvzError(f"{name}: no list of Kubernetes' API ({decoder_words(err)})") from None
    if not file.kind.endswith("List"):
        raise NvzError(f"{name}: no list of Kubernetes' API (its kind is {file.kind[:60]!r})")
    if file.kind != "List":
        resource = _BY_KIND.get(file.kind.removesuffix("List"))
        return [(resource, resource.page(body))] if resource is not None else []
    by_kind: dict[str, list[msgspec.Raw]] = defaultdict(list)
    for item in file.items or ():
        by_kind[_kinds.decode(item).kind].append(item)
    return [
        (_BY_KIND[kind], _BY_KIND[kind].page(msgspec.json.encode({"items": by_kind[kind]})))
        for kind in sorted(kinds & _BY_KIND.keys())
    ]


def read_lists(cluster: str, files: Iterable[tuple[str, bytes]]) -> NodeState:
    """Make a cluster's state of the API's lists, each given by its file's name. Raises: NvzError."""
    state = NodeState(cluster_source(cluster))
    pages: dict[str, list[Page]] = defaultdict(list)
    for name, body in files:
        for resource, page in _parts(name, body):
            pages[resource.kind].append(page)
    missing: dict[str, list[str]] = defaultdict(list)
    assumed: dict[str, list[str]] = defaultdict(list)
    for resource in RESOURCES:
        listing = Listing(resource, state)
        for page in pages[resource.kind]:
            listing.add(page)
        state = fold(state, sift(listing.delta()))
        if not pages[resource.kind]:
            absent = assumed if resource.versions else missing
            absent[resource.section].append(f"no list of {resource.name}")
        elif sum(bool(page.more) for page in pages[resource.kind]) >= len(pages[resource.kind]):
            missing[resource.section].append(f"the list of {resource.name} goes on")
    status = {
        one.section: SectionStatus(
            whole=not missing[one.section], reason="; ".join((*missing[one.section], *assumed[one.section]))
        )
        for one in RESOURCES
    }
    return msgspec.structs.replace(state, status=status)
