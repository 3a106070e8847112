"""Who is meant by selectors, ranges and nodes in policies: each peer that rules name has a number, once for all that are alike.

A pod is held only against the peers that can mean it: those of its own namespace, those that select its namespace, and
ranges by their lengths. So thousands of policies cost a pod as much as those that are near it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from netviz.core.model.addr import in_prefix, mask_ip
from netviz.core.model.kubernetes import Cidr, KubeNamespace, KubeNode, PolicyPeer, Selector


def selects(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Tell whether a label selector selects: each label and each expression of it holds.

    Source: apimachinery pkg/labels/selector.go, Requirement.Matches: NotIn and DoesNotExist hold without the key.
    """
    if not selector.labels.items() <= labels.items():
        return False
    for one in selector.expressions:
        has = one.key in labels
        among = has and labels[one.key] in one.values
        if not {"In": among, "NotIn": not among, "Exists": has, "DoesNotExist": not has}[one.operator]:
            return False
    return True


def within(addr: bytes, cidr: Cidr) -> bool:
    """Tell whether an address is in a range."""
    return in_prefix(addr, cidr.addr, cidr.prefixlen)


def keys_of(selector: Selector | None) -> Iterator[str]:
    """Yield the labels that a selector looks at."""
    if selector is not None:
        yield from selector.labels
        yield from (one.key for one in selector.expressions)


def is_meant(subject: PolicyPeer, namespace: KubeNamespace | None, labels: Mapping[str, str]) -> bool:
    """Tell whether a namespace's pods with some labels are whom a policy for the whole cluster is for; None isn't known."""
    return _has(subject, namespace) and (subject.pods is None or selects(subject.pods, labels))


def _has(peer: PolicyPeer, namespace: KubeNamespace | None) -> bool:
    return (
        namespace is not None and peer.namespaces is not None and selects(peer.namespaces, namespace.labels)
    )


class Peers:
    """The peers of a cluster's policies. A range or a selector of namespaces means the same wherever it stands."""

    def __init__(self, namespaces: Mapping[Any, KubeNamespace], nodes: Mapping[Any, KubeNode]) -> None:
        self._namespaces = namespaces
        self._node_labels = {addr: node.labels for node in nodes.values() for addr in node.addresses}
        self._numbers: dict[tuple[str, bytes], int] = {}
        self._peers: list[PolicyPeer] = []
        self._at_home: dict[str, list[int]] = {}
        self._by_namespaces: list[int] = []
        self._ranges: dict[tuple[int, int], dict[bytes, list[int]]] = {}
        self._by_nodes: list[int] = []
        self._that_select: dict[str, list[int]] = {}
        self._of_address: dict[bytes, frozenset[int]] = {}

    def number(self, home: str, peer: PolicyPeer) -> int:
        """Give a peer of a policy in the namespace `home` its number. All are given before the first question."""
        key = (
            "" if peer.block is not None or peer.namespaces is not None else home,
            msgspec.msgpack.encode(peer),
        )
        known = self._numbers.get(key)
        if known is not None:
            return known
        number = self._numbers[key] = len(self._peers)
        self._peers.append(peer)
        if peer.block is not None:
            length = len(peer.block.addr), peer.block.prefixlen
            begin = mask_ip(peer.block.addr, peer.block.prefixlen)
            self._ranges.setdefault(length, {}).setdefault(begin, []).append(number)
        elif peer.nodes is not None:
            self._by_nodes.append(number)
        elif peer.namespaces is not None:
            self._by_namespaces.append(number)
        elif peer.pods is not None:
            self._at_home.setdefault(home, []).append(number)
        return number

    def keys(self) -> Iterator[str]:
        """Yield the labels of pods that peers look at."""
        for peer in self._peers:
            yield from keys_of(peer.pods)

    def of_address(self, addr: bytes) -> frozenset[int]:
        """The peers that somebody is by an address: of ranges, and of nodes that have it."""
        known = self._of_address.get(addr)
        if known is None:
            found = set()
            for (width, length), begins in self._ranges.items():
                if width == len(addr):
                    for number in begins.get(mask_ip(addr, length), ()):
                        if not any(within(addr, one) for one in self._peers[number].but):
                            found.add(number)
            labels = self._node_labels.get(addr)
            if labels is not None:
                for number in self._by_nodes:
                    wanted = self._peers[number].nodes
                    if wanted is not None and selects(wanted, labels):
                        found.add(number)
            known = self._of_address[addr] = frozenset(found)
        return known

    def of_pods(self, namespace: str, labels: Mapping[str, str]) -> frozenset[int]:
        """The peers that a namespace's pods with some labels are, whatever their addresses."""
        near = self._that_select.get(namespace)
        if near is None:
            near = self._that_select[namespace] = [
                number
                for number in self._by_namespaces
                if _has(self._peers[number], self._namespaces.get(namespace))
            ]
        return frozenset(
            number
            for number in (*near, *self._at_home.get(namespace, ()))
            if (wanted := self._peers[number].pods) is None or selects(wanted, labels)
        )

    def is_subject(self, subject: PolicyPeer, namespace: str, labels: Mapping[str, str]) -> bool:
        """Tell whether a namespace's pods with some labels are whom a policy for the whole cluster is for."""
        return is_meant(subject, self._namespaces.get(namespace), labels)
