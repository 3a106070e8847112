"""Captures without a kernel: who may, what collectors are told, the file, its bounds, stopping, and its end."""

from __future__ import annotations

import io
import json
import struct
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from pcapng import FileScanner  # type: ignore[import-untyped]
from pcapng.blocks import EnhancedPacket, InterfaceDescription  # type: ignore[import-untyped]

from netviz.core.model.addr import pack_ip
from netviz.core.observe.drops import Drop, Group
from netviz.core.observe.evidence import Source
from netviz.core.observe.headers import Headers
from netviz.core.observe.orders import Capture, Drops, Finish, Order, Packets, Refused, encode, read_order
from netviz.core.observe.pcapng import Captured
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.reports import mailbox
from netviz.inventory.models import AuditEntry
from netviz.observing import captures
from netviz.observing.models import CapturePart, Observation
from tests.core.sim.build import Ns, textbook
from tests.web.states import show


@pytest.fixture
def made(store: MemoryStore, settings: Any) -> dict[str, Ns]:
    """The textbook cluster."""
    settings.OBSERVE = True
    net, made = textbook()
    for node in net.cluster().nodes.values():
        show(store, node)
        store.set_connected(node.node, True, time.time())
    return made


@pytest.fixture
def operator(token: Callable[[str], str]) -> Client:
    """A program with an operator's API token."""
    return Client(headers={"Authorization": f"Bearer {token('operator')}"})


def post(client: Client, path: str = "/api/captures", **request: Any) -> Any:
    return client.post(path, data=json.dumps(request), content_type="application/json")


def trace_id(client: Client) -> str:
    answer = post(client, "/api/traces", **{"from": "pod-1-1", "to": "pod-2-1", "dport": 80})
    return str(answer.json()["id"])


def joined(ident: str) -> None:
    """Wait for a capture's end."""
    for thread in threading.enumerate():
        if thread.name == f"observation-{ident}":
            thread.join(60)
    connection.close()


class Nodes:
    """Collectors that capture as they are told to."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        answer: Callable[[str, Order], Packets | Refused | None],
        drops: Drops | None = None,
    ) -> None:
        self.got: dict[str, list[Order]] = {}
        self._answer = answer
        self._drops = drops
        monkeypatch.setattr(captures, "order", self._take)

    def _take(self, node: str, ident: str, body: bytes) -> None:
        what = read_order(body)
        self.got.setdefault(node, []).append(what)
        if isinstance(what, Capture) and what.drops and self._drops is not None and node == "node-2":
            mailbox.deliver(ident, node, encode(self._drops))
        if (answer := self._answer(node, what)) is not None:
            mailbox.deliver(ident, node, encode(answer))


IP = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 6, 0, pack_ip("10.1.1.11"), pack_ip("10.1.2.11"))
SYN = bytes(12) + b"\x08\0" + IP + struct.pack("!HHIIBB", 40000, 80, 7, 0, 0x50, 2) + bytes(6)


def captured(node: str, what: Order, count: int = 2) -> Packets:
    """What a node captures: so many packets at its first device."""
    sources = (Source(node, "capture"),)
    if isinstance(what, Capture):
        number = what.points[0].number
        return Packets(
            tuple(Captured(number, 1_700_000_000_000_000_000 + n, True, 100, SYN) for n in range(count)),
            sources,
        )
    return Packets((), sources, over=True)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({}, "either trace"),
        ({"trace": "1", "link": "a"}, "either trace"),
        ({"trace": "77"}, "there is no trace 77"),
        ({"link": "node-1:4:1:0:1"}, "there is no link"),
        ({"link": "nonsense"}, "a link's key"),
        ({"link": "node-1:4:1:0:1", "drops": True}, "drops goes with a trace"),
        ({"trace": "1", "seconds": 61}, "seconds"),
        ({"trace": "1", "packets": 10_001}, "packets"),
        ({"trace": "1", "bytes": (8 << 20) + 1}, "bytes"),
    ],
)
def test_what_cannot_be_captured(
    made: dict[str, Ns], operator: Client, wrong: dict[str, Any], why: str
) -> None:
    answer = post(operator, **wrong)
    assert answer.status_code == 400
    assert why in answer.json()["error"]


@pytest.mark.django_db
def test_the_switch(made: dict[str, Ns], operator: Client, settings: Any) -> None:
    settings.OBSERVE = False
    assert post(operator, link="node-1:4:1:0:1").status_code == 403


@pytest.mark.filterwarnings(
    "ignore:Field type should not be:DeprecationWarning"
)  # the reader's own words for an option
@pytest.mark.django_db(transaction=True)
def test_every_hop_of_a_trace(made: dict[str, Ns], operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interface for each device, and in each packet's comment its pod and step; the file is there for a day."""
    nodes = Nodes(monkeypatch, captured)
    trace = trace_id(operator)
    ident = post(operator, trace=trace, seconds=1).json()["id"]
    joined(ident)
    found = operator.get(f"/api/observations/{ident}").json()
    assert (found["status"], found["capture"]["packets"], found["capture"]["full"]) == ("done", 4, False)
    (way,) = found["capture"]["heard"]["ways"]
    assert (way["proto"], way["src"], way["dport"], way["flags"]) == ("tcp", "10.1.1.11", 80, "SYN")
    assert [(one["dev"], one["where"]) for one in way["crossed"]] == [
        ("eth0", "pod default/pod-1-1 on node-1"),
        ("ens3", "node-2"),
    ]
    assert found["capture"]["heard"]["again"] == 1
    text = operator.get(f"/api/observations/{ident}/export?as=text").content.decode()
    assert "tcp 10.1.1.11:40000 > 10.1.2.11:80 SYN, sent again 1 time\n" in text
    seen, unseen = way["crossed"][0]["step"], [one["step"] for one in way["unseen"]]
    assert f"  sent by     eth0 in pod default/pod-1-1 on node-1 (step {seen})\n" in text
    assert "     not seen   received by eth0 in pod default/pod-2-1 on node-2 (step " in text
    assert sorted(unseen) == unseen
    assert min(unseen) > seen
    assert found["capture"]["drops"] is None
    orders = {node: got[0] for node, got in nodes.got.items()}
    assert list(orders) == ["node-1", "node-2"]
    first = orders["node-1"]
    assert isinstance(first, Capture)
    assert first.addrs == {pack_ip("10.1.1.11"), pack_ip("10.1.2.11")}
    assert (first.full, first.most_packets) == (False, 1000)
    assert all(isinstance(got[-1], Finish) for got in nodes.got.values())
    answer = operator.get(f"/api/captures/{ident}")
    assert answer["Content-Disposition"] == f'attachment; filename="capture-{ident}.pcapng"'
    _check_file(answer.content, found["capture"]["hops"], seen)
    assert AuditEntry.objects.filter(action="capture.start").latest("pk").detail["request"]["trace"] == trace
    assert AuditEntry.objects.filter(action="capture.download").count() == 1
    Observation.objects.filter(pk=ident).update(created_at=timezone.now() - timedelta(days=1, seconds=1))
    assert operator.get(f"/api/captures/{ident}").status_code == 404
    captures.delete_old()
    assert not CapturePart.objects.exists()


def _check_file(data: bytes, hops: list[Any], step: int) -> None:
    """Read a capture's file with somebody else's reader: an interface for each device, a comment on each packet."""
    blocks = list(FileScanner(io.BytesIO(data)))
    interfaces = [one for one in blocks if isinstance(one, InterfaceDescription)]
    packets = [one for one in blocks if isinstance(one, EnhancedPacket)]
    assert len(blocks) == 1 + len(interfaces) + len(packets)
    assert blocks[0].options["opt_comment"].endswith("; headers only")
    assert [one.options["if_name"] for one in interfaces] == [hop["dev"] for hop in hops]
    assert interfaces[0].options["if_description"].startswith("eth0 in pod default/pod-1-1 on node-1: step ")
    comments = [one.options["opt_comment"] for one in packets]
    assert comments[:2] == [f"pod default/pod-1-1 on node-1, sent by eth0; step {step}, forward"] * 2
    assert [one.interface.options["if_name"] for one in packets] == ["eth0", "eth0", "ens3", "ens3"]
    assert {one.packet_data for one in packets} == {SYN}
    assert {one.packet_len for one in packets} == {100}
    assert packets[0].timestamp == pytest.approx(1_700_000_000)


@pytest.mark.django_db(transaction=True)
def test_what_is_dropped_of_it(
    made: dict[str, Ns], operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its reason and place; a collector that doesn't tell is named."""
    headers = Headers(6, pack_ip("10.1.1.11"), pack_ip("10.1.2.11"), 40000, 80, flags=2)
    drop = Drop(1_700_000_000_000_000_000, "NETFILTER_DROP", str(made["node-2"].key), "cni0", headers=headers)
    Nodes(monkeypatch, captured, Drops((Group(drop, 3, drop.at_ns),), ()))
    ident = post(operator, trace=trace_id(operator), seconds=1, drops=True).json()["id"]
    joined(ident)
    found = operator.get(f"/api/observations/{ident}").json()
    (group,) = found["capture"]["drops"]
    assert (group["reason"], group["count"], group["place"]["dev"]) == ("NETFILTER_DROP", 3, "cni0")
    assert group["why"]
    lacking = [one["node"] for one in found["capture"]["sources"] if one["missing"] == captures.NO_DROPS]
    assert (found["status"], lacking) == ("partial", ["node-1"])
    text = operator.get(f"/api/observations/{ident}/export?as=text").content.decode()
    assert "dropped of it:\n" in text
    assert "     3 NETFILTER_DROP       after cni0 in node-2\n" in text


@pytest.mark.django_db(transaction=True)
def test_bounds_hold_whatever_collectors_send(
    made: dict[str, Ns], operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    Nodes(monkeypatch, lambda node, what: captured(node, what, 50))
    ident = post(operator, trace=trace_id(operator), seconds=30, packets=3).json()["id"]
    joined(ident)
    found = operator.get(f"/api/observations/{ident}").json()["capture"]
    assert (found["packets"], found["full"]) == (3, True)


@pytest.mark.django_db(transaction=True)
def test_a_link_until_it_is_stopped(
    made: dict[str, Ns], operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a link all packets; what is there so far can be had before the end."""
    nodes = Nodes(monkeypatch, captured)
    node = made["node-1"]
    link = f"{node.key}:{node.named('cni0').ifindex}"
    ident = post(operator, link=link, seconds=60).json()["id"]
    limit = time.monotonic() + 30
    while (
        not (data := operator.get(f"/api/captures/{ident}").content).count(b"sent by cni0")
        and time.monotonic() < limit
    ):
        time.sleep(0.05)
    assert data.count(b"sent by cni0") == 2
    assert operator.delete(f"/api/captures/{ident}").status_code == 204
    joined(ident)
    assert operator.get(f"/api/observations/{ident}").json()["status"] == "done"
    (first, *_) = nodes.got["node-1"]
    assert isinstance(first, Capture)
    assert first.addrs == frozenset()
    assert operator.delete(f"/api/captures/{ident}").status_code == 204
    assert operator.get(f"/api/captures/{ident}").status_code == 404
    assert AuditEntry.objects.filter(action="capture.stop").count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_node_that_cannot_is_named(
    made: dict[str, Ns], operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(node: str, what: Order) -> Packets | Refused:
        return Refused("its collector only reads") if node == "node-2" else captured(node, what)

    Nodes(monkeypatch, answer)
    ident = post(operator, trace=trace_id(operator), seconds=1).json()["id"]
    joined(ident)
    found = operator.get(f"/api/observations/{ident}").json()
    assert found["status"] == "partial"
    assert [one["missing"] for one in found["capture"]["sources"]] == [None, "its collector only reads"]
    Nodes(monkeypatch, lambda node, what: Refused("its collector only reads"))
    ident = post(operator, trace=trace_id(operator), seconds=1).json()["id"]
    joined(ident)
    found = operator.get(f"/api/observations/{ident}").json()
    assert (found["status"], found["error"]) == (
        "failed",
        "node-1: its collector only reads; node-2: its collector only reads",
    )
