"""pcapng as it is written: blocks, options and packets, read back by the format's own rules; what of packets is headers."""

from __future__ import annotations

import struct

import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.observe import pcapng
from netviz.core.observe.capture_points import addresses_of, hops_of
from netviz.core.observe.headers import headers_end, is_between
from netviz.core.observe.pcapng import Captured, Interface
from netviz.core.sim.render import trace_json
from tests.core.sim.build import textbook

A, B = pack_ip("10.0.0.1"), pack_ip("10.0.0.2")


def options_of(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while True:
        code, length = struct.unpack_from("<HH", data, at)
        if code == 0:
            return found
        found[code] = data[at + 4 : at + 4 + length]
        at += 4 + length + -length % 4


def test_a_file_reads_back() -> None:
    interfaces = [Interface("eth0", "eth0 in pod a"), Interface("veth1", "veth1 in n1: step 3, forward")]
    one = Captured(1, 1_700_000_000_123_456_789, True, 1500, b"\1" * 61)
    data = pcapng.header(interfaces, "netviz", "headers only") + pcapng.packet(one, "step 3, forward")
    blocks = list(pcapng.read_blocks(data))
    assert [kind for kind, _ in blocks] == [pcapng.SECTION, pcapng.INTERFACE, pcapng.INTERFACE, pcapng.PACKET]
    assert struct.unpack_from("<IHHq", blocks[0][1]) == (0x1A2B3C4D, 1, 0, -1)
    assert options_of(blocks[0][1][16:]) == {1: b"headers only", 4: b"netviz"}
    assert options_of(blocks[2][1][8:]) == {2: b"veth1", 3: b"veth1 in n1: step 3, forward", 9: b"\x09"}
    body = blocks[3][1]
    interface, high, low, kept, length = struct.unpack_from("<IIIII", body)
    assert (interface, high << 32 | low, kept, length) == (1, one.at_ns, 61, 1500)
    assert body[20:81] == one.data
    assert options_of(body[84:]) == {1: b"step 3, forward", 2: b"\2\0\0\0"}


def test_what_is_damaged_is_refused() -> None:
    data = pcapng.header([], "netviz", "")
    for broken in (data[:-1], data[:-4] + b"\0\0\0\0", data + b"\1\0\0\0"):
        with pytest.raises(ValueError, match="block"):
            list(pcapng.read_blocks(broken))


def ip4(proto: int, body: bytes, src: bytes = A, dst: bytes = B) -> bytes:
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, proto, 0, src, dst) + body


def test_headers_and_ends() -> None:
    """Of what is within VXLAN the packet's own headers count, too."""
    tcp = struct.pack("!HHIIBB", 40000, 80, 1, 0, 0x60, 2) + bytes(10)
    inner = ip4(6, tcp + b"secret")
    assert headers_end(inner) == 20 + 24
    assert headers_end(ip4(17, bytes(8) + b"secret")) == 28
    vxlan = struct.pack("!HHHH", 50000, 8472, 0, 0) + b"\x08\0\0\0" + bytes(4) + bytes(12) + b"\x08\0" + inner
    outer = ip4(17, vxlan, pack_ip("192.168.0.1"), pack_ip("192.168.0.2"))
    assert headers_end(outer) == len(outer) - len(b"secret")
    assert is_between(outer, {A, B})
    assert is_between(inner, {A, B})
    assert not is_between(inner, {A})
    assert not is_between(b"", {A, B})


def test_the_hops_of_a_trace() -> None:
    net, _ = textbook()
    trace = trace_json(net.trace("pod-1-1", "pod-2-1", "tcp", 80))
    hops = hops_of(trace)
    assert [(hop.node, hop.dev) for hop in hops] == [
        ("node-1", "eth0"),
        ("node-1", "veth-pod-1-1"),
        ("node-1", "cni0"),
        ("node-1", "ens3"),
        ("node-2", "ens3"),
        ("node-2", "veth-pod-2-1"),
        ("node-2", "eth0"),
        ("node-2", "cni0"),
    ]
    first = hops[0]
    assert first.interface.description.startswith(
        "eth0 in pod default/pod-1-1 on node-1: step 4, forward; step "
    )
    assert first.comment(out=True) == "pod default/pod-1-1 on node-1, sent by eth0; step 4, forward"
    assert first.comment(out=False).endswith(", reply")
    assert addresses_of(trace) == {pack_ip("10.1.1.11"), pack_ip("10.1.2.11")}
