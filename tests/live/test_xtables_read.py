"""What the collector reads of iptables and ipset is what iptables-save and ipset save say."""

from __future__ import annotations

import socket

import pytest

from agents import xtables
from agents.collectors.netfilter import Netfilter
from agents.collectors.ruleset import NFT_SECTIONS
from lab.kubernetes import proxy_iptables
from lab.kubernetes.ports import Endpoint, ServicePort
from netviz.core.model.addr import format_ip
from netviz.core.model.netfilter import NFPROTO_IPV4, IpSetBody, IpSetElem, NfAcct
from netviz.core.sim.xtables.text import xt_rule_text
from tests.live.collector_rig import Namespace, namespaces
from tests.live.oracle.build import add_account

pytestmark = pytest.mark.live

ENDS = tuple(Endpoint(addr, 80, "n1") for addr in ("10.244.1.2", "10.244.1.3"))
SERVICES = [
    ServicePort(name="one", port_name="http", cluster_ip="10.96.0.1", endpoints=ENDS, node_port=30000),
    ServicePort(name="none", port_name="http", cluster_ip="10.96.0.2"),
    ServicePort(name="dns", proto="udp", port=53, cluster_ip="10.96.0.3", endpoints=ENDS[:1]),
    ServicePort(name="near", cluster_ip="10.96.0.4", endpoints=ENDS, node_port=30001, external_local=True),
    ServicePort(name="sticky", cluster_ip="10.96.0.5", endpoints=ENDS, affinity_s=10800),
    ServicePort(
        name="guarded",
        cluster_ip="10.96.0.6",
        endpoints=ENDS,
        balancer_ips=("192.0.2.9",),
        sources=("192.0.2.0/24",),
    ),
]


def saved_rules(ns: Namespace, program: str) -> list[str]:
    """The rules of a program's save, with their tables. (iptables-save puts two spaces before an account's name.)"""
    table, found = "", []
    for line in ns.exec(f"{program}-save").splitlines():
        if line.startswith("*"):
            table = line[1:]
        if line.startswith("-A"):
            found.append(f"{table} {' '.join(line.split())}")
    return found


@pytest.mark.parametrize("program", ["iptables", "iptables-legacy"])
def test_every_rule_of_kube_proxy(program: str) -> None:
    """Word for word and in order."""
    with namespaces() as (ns,):
        for account in proxy_iptables.ACCOUNTS:
            ns.exec("nfacct", "add", account)
        rules = proxy_iptables.whole("n1", "192.0.2.1", "10.244.0.0/16", SERVICES, 4)
        ns.exec(f"{program}-restore", input_text=rules)
        legacy = program.endswith("legacy")
        reading = Netfilter().collect(ns.handle, ("xt_tables",) if legacy else NFT_SECTIONS)
        bodies = {digest: body.decode() for digest, body in reading.bodies.items()}
        mine = [
            f"{chain.table} -A {chain.name} {xt_rule_text(rule)}"
            for chain in reading.sections["xt_chains" if legacy else "nft_chains"]
            if chain.body
            for rule in bodies[chain.body].rules
        ]
        assert sorted(mine) == sorted(saved_rules(ns, program))
        for chain in {" ".join(line.split()[:3]) for line in mine}:
            of_chain = [line for line in mine if line.startswith(f"{chain} ")]
            assert of_chain == [line for line in saved_rules(ns, program) if line.startswith(f"{chain} ")]


def test_a_legacy_change_changes_only_what_it_must() -> None:
    """Counters change no body; a policy and a rule do."""
    with namespaces() as (ns,):
        ns.exec("iptables-legacy", "-A", "INPUT", "-i", "lo", "-j", "ACCEPT")
        collector = Netfilter()

        def read() -> dict[str, tuple[bytes, int]]:
            reading = collector.collect(ns.handle, ("xt_tables",))
            return {chain.name: (chain.body, chain.policy) for chain in reading.sections["xt_chains"]}

        before = read()
        with ns.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            sock.sendto(b"counted", sock.getsockname())
        assert "-c 1 " in ns.exec("iptables-legacy", "-v", "-S", "INPUT")
        assert read() == before
        ns.exec("iptables-legacy", "-P", "FORWARD", "DROP")
        after = read()
        assert after["FORWARD"] == (before["FORWARD"][0], 0)
        assert after["INPUT"] == before["INPUT"]
        ns.exec("iptables-legacy", "-F", "INPUT")
        assert read()["INPUT"] == (b"", 1)


@pytest.mark.parametrize("damage", ["size", "cut", "verdict"])
def test_damaged_entries_are_refused(damage: str) -> None:
    """No length and no offset is believed."""
    with namespaces() as (ns,):
        ns.exec("iptables-legacy", "-N", "nv-c")
        ns.exec("iptables-legacy", "-A", "INPUT", "-j", "nv-c")
        info, entries = ns.handle.run(lambda: xtables.read_table(ns.handle.kernel, NFPROTO_IPV4, "filter"))
        table = xtables.split_table(NFPROTO_IPV4, info, entries)
        chain = next(chain for chain in table.chains if chain.name == "INPUT")
        assert len(xtables.decode_chain(table, chain).rules) == 1
        bad = bytearray(entries)
        if damage == "size":
            bad[90:92] = b"\x01\x00"
        elif damage == "cut":
            del bad[200:]
        else:
            bad[112 + 32 : 112 + 36] = (7).to_bytes(4, "little")

        def decode_all() -> None:
            torn = xtables.split_table(NFPROTO_IPV4, info, bytes(bad))
            for one in torn.chains:
                xtables.decode_chain(torn, one)

        with pytest.raises(xtables.BadTable):
            decode_all()


SETS = """create nv-ip hash:ip timeout 300 counters comment
add nv-ip 10.0.0.1 comment "one"
add nv-ip 10.0.0.2
create nv-net hash:net
add nv-net 10.1.0.0/16
add nv-net 10.1.2.0/24 nomatch
create nv-mix hash:ip,port,net
add nv-mix 10.0.0.1,tcp:80,10.2.0.0/16
create nv-if hash:net,iface
add nv-if 10.3.0.0/16,physdev:veth0
create nv-port bitmap:port range 0-1000
add nv-port 80-82
create nv-six hash:net family inet6
add nv-six fd00::/64
create nv-all list:set
add nv-all nv-net
add nv-all nv-ip
create nv-some hash:net,iface counters skbinfo
add nv-some 10.4.0.0/16,ve wildcard skbmark 0x12/0xff
create nv-empty hash:ip
"""


def test_sets_and_their_elements() -> None:
    """Types, families, indexes and elements; time and counters change nothing."""
    with namespaces() as (ns,):
        collector = Netfilter()
        assert list(collector.collect(ns.handle, ("ipsets",)).sections["ipsets"]) == []
        ns.exec("ipset", "restore", input_text=SETS)
        reading = collector.collect(ns.handle, ("ipsets",))
        sets = {one.name: one for one in reading.sections["ipsets"]}
        assert len({one.index for one in sets.values()}) == len(sets) == 9
        assert (sets["nv-six"].type, sets["nv-six"].family, sets["nv-ip"].timeout_s) == ("hash:net", 10, 300)

        def elems(name: str) -> tuple[IpSetElem, ...]:
            body = reading.bodies[sets[name].body].decode()
            assert isinstance(body, IpSetBody)
            return body.elems

        assert {format_ip(e.ip) for e in elems("nv-ip")} == {"10.0.0.1", "10.0.0.2"}
        assert {(format_ip(e.ip), e.cidr, e.nomatch) for e in elems("nv-net")} == {
            ("10.1.0.0", 16, False),
            ("10.1.2.0", 24, True),
        }
        (mix,) = elems("nv-mix")
        assert (mix.proto, mix.port, format_ip(mix.ip2), mix.cidr2) == (6, 80, "10.2.0.0", 16)
        assert [(e.name, e.physdev) for e in elems("nv-if")] == [("veth0", True)]
        assert [(e.name, e.wildcard, e.skbmark) for e in elems("nv-some")] == [("ve", True, (0x12, 0xFF))]
        assert {name for name, one in sets.items() if one.counters} == {"nv-ip", "nv-some"}
        assert {e.port for e in elems("nv-port")} == {80, 81, 82}
        assert [e.name for e in elems("nv-all")] == ["nv-net", "nv-ip"]
        assert sets["nv-empty"].body == b""
        ns.exec("iptables", "-A", "INPUT", "-m", "set", "--match-set", "nv-ip", "src", "-j", "DROP")
        with_rules = collector.collect(ns.handle, ("nft_chains",)).sections
        assert {one.name: one for one in with_rules["ipsets"]} == sets  # the rules name them
        assert "ipsets" not in collector.collect(ns.handle, ("nft_chains",)).sections
        again = collector.collect(ns.handle, ("ipsets",))
        assert {one.name: one for one in again.sections["ipsets"]} == sets
        ns.exec("ipset", "del", "nv-ip", "10.0.0.2")
        changed = {one.name: one for one in collector.collect(ns.handle, ("ipsets",)).sections["ipsets"]}
        assert {name for name, one in changed.items() if one != sets[name]} == {"nv-ip"}


def test_accounting_objects() -> None:
    """Names and quotas."""
    with namespaces() as (ns,):
        collector = Netfilter()
        assert list(collector.collect(ns.handle, ("nfaccts",)).sections["nfaccts"]) == []
        ns.handle.run(lambda: add_account("nv-plain"))
        ns.handle.run(lambda: add_account("nv-quota 20"))
        found = collector.collect(ns.handle, ("nfaccts",)).sections["nfaccts"]
        assert set(found) == {NfAcct("nv-plain"), NfAcct("nv-quota", 2, 20)}
