"""Alerts that are true of every new pod for a moment are shown when they have stood for a while."""

from __future__ import annotations

import msgspec
import pytest

from netviz.core.model.ids import NetnsKey
from netviz.core.model.link import IFF_UP, Link
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta
from netviz.ingest.memory_store import MemoryStore
from netviz.topology import patience
from netviz.topology.graph import Alert, GraphDelta, Remove, Upsert
from netviz.topology.live import Topology
from netviz.topology.patience import PATIENCE_S, Patience
from tests.web.states import UP, change, pod_network, show

YOUNG = Alert("no-uplink:a", "no-uplink", "warning", "", None, (), ())
LOUD = Alert("duplicate-address:1", "duplicate-address", "error", "", "1", (), ())


def sift(held: Patience, now_s: float, *up: Alert, gone: str = "") -> GraphDelta:
    delta = GraphDelta(Upsert(alerts=list(up)), Remove(alerts=[gone] if gone else []))
    held.sift(delta, now_s)
    return delta


def test_a_young_alert_waits_and_others_do_not() -> None:
    held = Patience()
    assert sift(held, 10, YOUNG, LOUD).upsert.alerts == [LOUD]
    assert held.shown({YOUNG.key: YOUNG, LOUD.key: LOUD}) == {LOUD.key: LOUD}
    assert not held.ripe(10 + PATIENCE_S - 0.1)
    newer = msgspec.structs.replace(YOUNG, message="still")
    assert not sift(held, 11, newer)
    assert held.ripe(10 + PATIENCE_S)
    assert sift(held, 10 + PATIENCE_S).upsert.alerts == [newer]
    assert sift(held, 14, YOUNG).upsert.alerts == [YOUNG], "what was told is told again when it changes"
    assert held.shown({YOUNG.key: YOUNG}) == {YOUNG.key: YOUNG}
    assert sift(held, 20, gone=YOUNG.key).remove.alerts == [YOUNG.key]
    assert not sift(held, 21, YOUNG), "and waits again when it comes back"


def test_what_passes_is_never_told() -> None:
    held = Patience()
    sift(held, 10, YOUNG)
    assert not sift(held, 11, gone=YOUNG.key)
    assert not held.ripe(99)


def link_change(flags: int) -> NodeDelta:
    eth0 = Link(2, "eth0", "veth", flags=flags, link=100, link_nsid=0)
    return NodeDelta(netns=(NetnsDelta(NetnsKey("a", 4, 10), links=Change(put=(eth0,))),))


def test_the_graph_and_the_snapshot_agree_on_what_is_shown(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(store, pod_network())
    topology = Topology(store)
    change(store, "a", link_change(IFF_UP))
    assert topology.graph()[1].alerts == {}
    assert '"alerts":[]' in topology.listen(lambda revision, frame: None)[1]
    monkeypatch.setattr(patience, "PATIENCE_S", 0.0)
    assert list(topology.graph()[1].alerts) == ["no-uplink:a:4:10:0"]
    assert "no-uplink" in topology.listen(lambda revision, frame: None)[1]
    change(store, "a", link_change(UP))
    assert topology.graph()[1].alerts == {}
