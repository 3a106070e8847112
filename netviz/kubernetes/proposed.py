"""Policies that somebody proposes, as YAML or JSON of the API's own form: one object, several documents, or a list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from netviz.core.intent.subjects import Policy
from netviz.core.model.kubernetes import ClusterPolicy, NetworkPolicy
from netviz.core.wire.kubernetes.api import RESOURCES, Unread

MOST_BYTES = 1 << 20
MOST = 100
_BY_KIND = {one.kind: one for one in RESOURCES if one.section in ("network_policies", "cluster_policies")}


class BadPolicy(ValueError):
    """What was proposed is no policy; the message is one sentence for people."""


def read_policies(text: bytes) -> list[Policy]:
    """Read what is proposed. One without a namespace is for "default", as kubectl takes it. Raises: BadPolicy."""
    if len(text) > MOST_BYTES:
        raise BadPolicy(f"more than {MOST_BYTES >> 10} KiB of policies")
    if b"&" in text and b"*" in text and _refers(text):
        raise BadPolicy("YAML's anchors and aliases aren't read")
    try:
        documents = list(yaml.safe_load_all(text))
    except (yaml.YAMLError, ValueError, RecursionError) as err:
        raise BadPolicy(f"it is no YAML: {' '.join(str(err).split())[:200]}") from None
    found = [_policy(one) for document in documents for one in _objects(document)]
    if not found:
        raise BadPolicy("there is no policy in it")
    if len(found) > MOST:
        raise BadPolicy(f"more than {MOST} policies")
    return found


def _refers(text: bytes) -> bool:
    """Tell whether aliases are used: a few bytes may stand for gigabytes."""
    try:
        return any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text))
    except (yaml.YAMLError, ValueError, RecursionError):
        return False


def _objects(document: Any) -> Iterator[Any]:
    if document is None:
        return
    if isinstance(document, dict) and isinstance(document.get("items"), list):
        yield from document["items"]
    else:
        yield document


def _policy(document: Any) -> Policy:
    kind = document.get("kind") if isinstance(document, dict) else None
    resource = _BY_KIND.get(kind) if isinstance(kind, str) else None
    if resource is None:
        raise BadPolicy(f"its kind is {str(kind)[:60]!r}: a policy is one of {', '.join(sorted(_BY_KIND))}")
    # Others have kinds of these names, too, which mean something else.
    version = document.get("apiVersion")
    if version is not None and str(version).rpartition("/")[0] != resource.group:
        raise BadPolicy(f"its apiVersion is {str(version)[:60]!r}: a {kind} is of {resource.group}")
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not metadata.get("name"):
        raise BadPolicy("a policy needs metadata.name")
    document = {**document, "metadata": {"namespace": "default", **metadata}}
    try:
        made = resource.read(msgspec.json.encode(document))
    except (TypeError, ValueError) as err:
        raise BadPolicy(f"policy {metadata['name']}: {err}") from None
    if isinstance(made, Unread):
        raise BadPolicy(f"policy {metadata['name']}: {made.reason}")
    assert isinstance(made, NetworkPolicy | ClusterPolicy)
    return made
