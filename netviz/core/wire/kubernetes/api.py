"""What the API answers, as records: a page of a list, and an event of a watch.

What of one object cannot be read leaves the others alone: it is left out and named, as at the door for every source's
words. A `Resource` is a kind of object that is asked for; two of them may fill one section.

Source: the Kubernetes API's concepts (chunked lists, watches, bookmarks), meta/v1 Status.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any, NamedTuple

import msgspec

from netviz.core.model.base import Record
from netviz.core.model.check import decoder_words
from netviz.core.state.door import REASON_CHARS, UNREADABLE, key_text
from netviz.core.wire.kubernetes import cluster_policies, records, shapes

GONE = 410
# Sections of several kinds: their records' keys begin with the kind.
_OF_KINDS = ("workloads", "cluster_policies")


class ApiError(ValueError):
    """The API said no, or what it said is no answer. `code` is the HTTP status, 0 of none; the message is one line."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class Unread(NamedTuple):
    """An object that cannot be used: its record's key, that key as text, and why."""

    key: Any
    record: str
    reason: str


class Page(NamedTuple):
    """A page of a list. `version` is the whole list's resource version; `more` asks for the next page, "" of none."""

    records: tuple[Record, ...]
    unread: tuple[Unread, ...]
    version: str
    more: str


class Event(NamedTuple):
    """An event of a watch. `key` is None of a bookmark; `record` None of what is deleted or cannot be used."""

    version: str
    key: Any = None
    record: Record | None = None
    unread: Unread | None = None


class _Page(msgspec.Struct, gc=False):
    metadata: shapes.ListMeta = shapes.ListMeta()
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct, gc=False):
    type: str
    object: msgspec.Raw


class _Versioned(msgspec.Struct, gc=False):
    metadata: shapes.ListMeta = shapes.ListMeta()


class _GroupVersion(msgspec.Struct, gc=False):
    version: str = ""


class _Group(msgspec.Struct, gc=False):
    versions: tuple[_GroupVersion, ...] = ()


class _Status(msgspec.Struct, gc=False):
    message: str = ""
    reason: str = ""
    code: int = 0


_groups = msgspec.json.Decoder(_Group)
_pages = msgspec.json.Decoder(_Page)
_events = msgspec.json.Decoder(_Event)
_versions = msgspec.json.Decoder(_Versioned)
_statuses = msgspec.json.Decoder(_Status)
_metas = msgspec.json.Decoder(shapes.MetaOnly)


class Resource(msgspec.Struct, frozen=True, dict=True):
    """A kind of the API's objects, and the section that its records are in. `path` is where its list is.

    One that not every cluster has installed names the `versions` of its group that are understood, best first.
    """

    kind: str
    path: str
    section: str
    shape: type[shapes.Shape]
    make: Callable[[Any], Record]
    versions: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The kind as the API's paths and RBAC name it: "pods"."""
        return self.path.rpartition("/")[2]

    @property
    def group_path(self) -> str:
        """Where the API says in which versions it has the kind's group."""
        return self.path.rsplit("/", 2)[0]

    @property
    def group(self) -> str:
        """The kind's group, as apiVersion has it; "" of the core's."""
        parts = self.path.split("/")
        return parts[2] if parts[1] == "apis" else ""

    def in_version(self, version: str) -> Resource:
        """Return the resource as another version of its group has it."""
        return msgspec.structs.replace(self, path=f"{self.group_path}/{version}/{self.name}")

    @property
    def metadata_only(self) -> bool:
        """Nothing but metadata is read of it, so nothing else need be asked for."""
        return self.shape is shapes.MetaOnly

    @cached_property
    def _items(self) -> msgspec.json.Decoder[Any]:
        return msgspec.json.Decoder(self.shape)

    def owns(self, key: Any) -> bool:
        """Tell whether a record's key in the section, or its text, is of this kind."""
        if self.section not in _OF_KINDS:
            return True
        return bool(key.startswith(f"{self.kind},") if isinstance(key, str) else key[0] == self.kind)

    def read(self, item: bytes | msgspec.Raw) -> Record | Unread:
        """Make an object's record."""
        try:
            return self.make(self._items.decode(item))
        except UNREADABLE as err:
            key = self._key(item)
            return Unread(key, "" if key is None else key_text(key), decoder_words(err)[:REASON_CHARS])

    def _key(self, item: bytes | msgspec.Raw) -> Any:
        """The key that an object's record would have, None when that can't be read either."""
        try:
            meta = _metas.decode(item).metadata
        except UNREADABLE:
            return None
        if self.section == "workloads":
            return (self.kind, meta.namespace, meta.name)
        if self.section == "cluster_policies":
            return (self.kind, meta.name)
        namespaced = self.section not in ("kube_nodes", "kube_namespaces")
        return (meta.namespace, meta.name) if namespaced else meta.name

    def page(self, body: bytes) -> Page:
        """Read a page of a list. Raises: ApiError."""
        try:
            page = _pages.decode(body)
        except UNREADABLE as err:
            raise ApiError(f"no list of {self.name}: {decoder_words(err)}") from None
        read = [self.read(item) for item in page.items or ()]
        return Page(
            tuple(one for one in read if not isinstance(one, Unread)),
            tuple(one for one in read if isinstance(one, Unread)),
            page.metadata.resource_version,
            page.metadata.continue_,
        )

    def event(self, line: bytes) -> Event:
        """Read an event of a watch. Raises: ApiError, also when the event says that the watch is over."""
        try:
            event = _events.decode(line)
            if event.type == "ERROR":
                raise error(event.object)
            version = _versions.decode(event.object).metadata.resource_version
        except ApiError:
            raise
        except UNREADABLE as err:
            raise ApiError(f"no event of {self.name}: {decoder_words(err)}") from None
        match event.type:
            case "BOOKMARK":
                return Event(version)
            case "DELETED":
                if (key := self._key(event.object)) is None:
                    raise ApiError(f"one of {self.name} was deleted, and which can't be read")
                return Event(version, key)
            case "ADDED" | "MODIFIED":
                read = self.read(event.object)
                if isinstance(read, Unread):
                    return Event(version, read.key, None, read)
                return Event(version, read.key, read)  # type: ignore[attr-defined]
        raise ApiError(f"an event of {self.name} of type {event.type[:40]!r}, which isn't known")


def error(body: bytes | msgspec.Raw, code: int = 0) -> ApiError:
    """Read the API's words of why not. `code` is that of the answer, where the words name none."""
    try:
        status = _statuses.decode(body)
    except UNREADABLE:
        return ApiError(f"HTTP status {code}", code)
    words = status.message or status.reason or f"HTTP status {status.code or code}"
    return ApiError(" ".join(words.split())[:REASON_CHARS], status.code or code)


def group_versions(body: bytes) -> tuple[str, ...]:
    """Read in which versions the API has a group, the one that it prefers first. Raises: ApiError."""
    try:
        return tuple(one.version for one in _groups.decode(body).versions)
    except UNREADABLE as err:
        raise ApiError(f"no group of the API: {decoder_words(err)}") from None


RESOURCES: tuple[Resource, ...] = (
    Resource("Node", "/api/v1/nodes", "kube_nodes", shapes.NodeShape, records.node),
    Resource("Namespace", "/api/v1/namespaces", "kube_namespaces", shapes.MetaOnly, records.namespace),
    Resource("Pod", "/api/v1/pods", "kube_pods", shapes.PodShape, records.pod),
    Resource("Service", "/api/v1/services", "services", shapes.ServiceShape, records.service),
    Resource(
        "EndpointSlice",
        "/apis/discovery.k8s.io/v1/endpointslices",
        "endpoint_slices",
        shapes.SliceShape,
        records.endpoint_slice,
    ),
    Resource(
        "NetworkPolicy",
        "/apis/networking.k8s.io/v1/networkpolicies",
        "network_policies",
        shapes.PolicyShape,
        records.network_policy,
    ),
    *(
        Resource(kind, path, "workloads", shapes.MetaOnly, partial(records.workload, kind))
        for kind, path in (("ReplicaSet", "/apis/apps/v1/replicasets"), ("Job", "/apis/batch/v1/jobs"))
    ),
    *(
        Resource(
            kind,
            f"/apis/{cluster_policies.GROUP}/{versions[0]}/{kind.lower().removesuffix('y')}ies",
            "cluster_policies",
            cluster_policies.ClusterPolicyShape,
            partial(cluster_policies.cluster_policy, kind),
            versions,
        )
        for kind, versions in cluster_policies.VERSIONS.items()
    ),
)


def resources_of(section: str) -> Iterator[Resource]:
    """The resources whose records are in a section."""
    return (one for one in RESOURCES if one.section == section)
