"""Peers are proved from both ends, or said to be unproved.

root (netns 1)            pod (netns 2)          pod (netns 3)
  veth 5 ------------------ eth0 5 (same ifindex: the kernel omits IFLA_LINK)
  veth 7 ------------------------------------------- eth0 2
"""

from __future__ import annotations

import msgspec
import pytest

from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.link import Link, MacvlanInfo
from netviz.core.model.netns import Netns
from netviz.core.state.delta import section_of
from netviz.core.state.node import NetnsState, NodeState
from netviz.core.state.resolve import AMBIGUOUS, PROVED, UNRESOLVED, resolve_lower, resolve_node, resolve_peer

ROOT, POD2, POD3 = (NetnsKey("n1", 4, ino) for ino in (1, 2, 3))


def veth(ifindex: int, peer: int, nsid: int | None) -> Link:
    """A veth end as the kernel tells it: IFLA_LINK is omitted when it equals the ifindex."""
    return Link(ifindex, f"veth{ifindex}", "veth", link=0 if peer == ifindex else peer, link_nsid=nsid)


def netns(key: NetnsKey, links: list[Link], nsids: tuple[tuple[int, NetnsKey], ...] = ()) -> NetnsState:
    return NetnsState(Netns(key, nsids=nsids), links=section_of(links))


def node(*states: NetnsState) -> NodeState:
    return NodeState("n1", netns={state.key: state for state in states})


@pytest.fixture
def textbook() -> NodeState:
    return node(
        netns(ROOT, [veth(5, 5, 0), veth(7, 2, 1)], ((0, POD2), (1, POD3))),
        netns(POD2, [veth(5, 5, 0)], ((0, ROOT),)),
        netns(POD3, [veth(2, 7, 0)], ((0, ROOT),)),
    )


def change(state: NodeState, key: NetnsKey, **changes: object) -> NodeState:
    """The same node with one namespace changed."""
    return NodeState("n1", netns={**state.netns, key: msgspec.structs.replace(state.netns[key], **changes)})


def test_a_pair_with_equal_ifindexes_is_proved_without_IFLA_LINK(textbook: NodeState) -> None:
    assert textbook.netns[ROOT].links[5].link == 0
    peer = resolve_peer(textbook, LinkKey(ROOT, 5))
    assert (peer.state, peer.key) == (PROVED, LinkKey(POD2, 5))


def test_every_pair_is_proved_from_both_ends(textbook: NodeState) -> None:
    peers = resolve_node(textbook)
    assert len(peers) == 4
    for key, peer in peers.items():
        assert peer.state == PROVED
        assert peer.key is not None
        assert peers[peer.key].key == key


def test_an_ifindex_that_another_namespace_has_too_proves_nothing(textbook: NodeState) -> None:
    wrong = change(textbook, ROOT, netns=Netns(ROOT, nsids=((0, POD3), (1, POD2))))
    for ifindex in (5, 7):
        peer = resolve_peer(wrong, LinkKey(ROOT, ifindex))
        assert (peer.state, peer.key) == (UNRESOLVED, None)
        assert "points back" in peer.reason


def test_a_peer_that_points_elsewhere_is_not_proved(textbook: NodeState) -> None:
    wrong = change(textbook, POD3, netns=Netns(POD3, nsids=((0, POD2),)))
    assert resolve_peer(wrong, LinkKey(ROOT, 7)).state == UNRESOLVED


def test_a_link_of_another_kind_is_no_peer(textbook: NodeState) -> None:
    wrong = change(textbook, POD3, links=section_of([Link(2, "eth0", "macvlan", link=7, link_nsid=0)]))
    assert resolve_peer(wrong, LinkKey(ROOT, 7)).state == UNRESOLVED


def test_a_namespace_that_was_not_collected_is_named(textbook: NodeState) -> None:
    without = NodeState("n1", netns={key: ns for key, ns in textbook.netns.items() if key != POD3})
    peer = resolve_peer(without, LinkKey(ROOT, 7))
    assert peer.state == UNRESOLVED
    assert str(POD3) in peer.reason


def test_an_unmapped_nsid_is_unresolved_even_with_one_candidate(textbook: NodeState) -> None:
    unmapped = change(textbook, ROOT, netns=Netns(ROOT, nsids=((0, POD2),)))
    peer = resolve_peer(unmapped, LinkKey(ROOT, 7))
    assert peer.state == UNRESOLVED
    assert "nsid 1" in peer.reason


def test_two_candidates_behind_an_unmapped_nsid_are_ambiguous() -> None:
    state = node(
        netns(ROOT, [veth(7, 2, 1)]),
        netns(POD2, [veth(2, 7, 0)], ((0, ROOT),)),
        netns(POD3, [veth(2, 7, 0)], ((0, ROOT),)),
    )
    peer = resolve_peer(state, LinkKey(ROOT, 7))
    assert (peer.state, peer.key) == (AMBIGUOUS, None)
    assert "2 links" in peer.reason


def test_both_ends_in_one_namespace_need_no_nsid() -> None:
    state = node(netns(ROOT, [veth(3, 4, None), veth(4, 3, None)]))
    assert resolve_peer(state, LinkKey(ROOT, 3)).key == LinkKey(ROOT, 4)


def test_without_a_word_about_the_peer_nothing_is_guessed() -> None:
    state = node(netns(ROOT, [veth(3, 3, None)]), netns(POD2, [veth(3, 3, 0)], ((0, ROOT),)))
    peer = resolve_peer(state, LinkKey(ROOT, 3))
    assert (peer.state, peer.key) == (UNRESOLVED, None)
    assert "names no peer" in peer.reason


def test_an_unknown_link_is_a_caller_s_error(textbook: NodeState) -> None:
    with pytest.raises(KeyError):
        resolve_peer(textbook, LinkKey(ROOT, 99))


def test_a_lower_device_may_be_in_another_namespace() -> None:
    macvlan = Link(2, "eth0", "macvlan", link=9, link_nsid=0, info=MacvlanInfo(4))
    state = node(
        netns(ROOT, [Link(9, "uplink"), Link(10, "vlan10", "vlan", link=9)]),
        netns(POD2, [macvlan, Link(3, "lost", "macvlan", link=8, link_nsid=0)], ((0, ROOT),)),
        netns(POD3, [macvlan]),
    )
    assert resolve_lower(state, LinkKey(POD2, 2)) == LinkKey(ROOT, 9)
    assert resolve_lower(state, LinkKey(ROOT, 10)) == LinkKey(ROOT, 9)
    assert resolve_lower(state, LinkKey(POD2, 3)) is None
    assert resolve_lower(state, LinkKey(POD3, 2)) is None
    assert resolve_lower(state, LinkKey(ROOT, 9)) is None
