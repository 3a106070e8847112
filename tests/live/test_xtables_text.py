"""Every extension that this kernel has, as the collector reads it, is written as iptables-save writes it."""

from __future__ import annotations

import pytest

from agents.collectors.netfilter import Netfilter
from agents.collectors.ruleset import NFT_SECTIONS
from netviz.core.model.netfilter import NFPROTO_BRIDGE
from netviz.core.sim.nft.text import rule_text
from netviz.core.sim.xtables.text import is_xtables, xt_rule_text
from tests.live.collector_rig import Namespace, namespaces

pytestmark = pytest.mark.live

# Of both families.
BOTH = """*raw
-A PREROUTING -m rpfilter --loose -j ACCEPT
-A PREROUTING -p tcp -j CT --ctevents new,destroy
-A PREROUTING -p tcp -j CT --helper ftp
-A PREROUTING -j CT --zone 3
-A PREROUTING -j CT --zone-orig 3
-A PREROUTING -j CT --zone-reply mark
-A PREROUTING -j TRACE
COMMIT
*mangle
-A PREROUTING -m socket -j ACCEPT
-A PREROUTING -m socket --transparent --nowildcard -j ACCEPT
-A PREROUTING -j CHECKSUM --checksum-fill
-A FORWARD -j MARK --set-xmark 0x3/0xffffffff
-A FORWARD -j CONNMARK --save-mark --nfmask 0xf --ctmask 0xf
-A FORWARD -j CLASSIFY --set-class 0001:0002
-A FORWARD -j IDLETIMER --timeout 500 --label nvtext
-A FORWARD -j RATEEST --rateest-name nvtext --rateest-interval 250ms --rateest-ewmalog 500ms
-A FORWARD -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j TCPMSS --set-mss 1000
-A FORWARD -p tcp -j TCPOPTSTRIP --strip-options 5,8
-A FORWARD -j HMARK --hmark-tuple src,dst,sport --hmark-mod 5 --hmark-offset 9 --hmark-rnd 0xfeed
-A FORWARD -j DSCP --set-dscp 0x04
COMMIT
*security
-A FORWARD -j ACCEPT
COMMIT
*filter
-A FORWARD -m hashlimit --hashlimit-above 1000/sec --hashlimit-mode srcip --hashlimit-name h1 -j DROP
-A FORWARD -m hashlimit --hashlimit-upto 5/min --hashlimit-burst 7 --hashlimit-mode srcip,dstport --hashlimit-name h2
-A FORWARD -m string --algo bm --string abc -j DROP
-A FORWARD -m string --algo kmp ! --hex-string "|00ff|" --from 20 --to 100 -j DROP
-A FORWARD -m cpu --cpu 0 -j DROP
-A FORWARD -m helper --helper ftp -j DROP
-A FORWARD -p tcp -m ecn --ecn-tcp-cwr -j DROP
-A FORWARD -m ecn --ecn-ip-ect 0 -j DROP
-A FORWARD -p tcp -m tcp --syn -m tcpmss --mss 1000:1460 -j DROP
-A FORWARD -m time --timestart 08:00 --timestop 17:30 --weekdays Mon,Fri --datestart 2024-02-29T01:02:03 -j ACCEPT
-A FORWARD -m connbytes --connbytes 0:1000 --connbytes-dir both --connbytes-mode packets -j ACCEPT
-A FORWARD -m connlimit --connlimit-above 3 -j DROP
-A FORWARD -m connlabel --label 3 --set -j DROP
-A FORWARD -m cluster --cluster-total-nodes 2 --cluster-local-node 1 --cluster-hash-seed 0xdead -j ACCEPT
-A FORWARD -m bpf --bytecode "1,6 0 0 1" -j ACCEPT
-A FORWARD -p sctp -m sctp --dport 80 -j ACCEPT
-A FORWARD -p dccp -m dccp --dport 80 -j ACCEPT
-A FORWARD -p esp -m esp --espspi 80 -j ACCEPT
-A FORWARD -m policy --dir in --pol none -j ACCEPT
-A FORWARD -m policy --dir out --pol ipsec -j ACCEPT
-A FORWARD -m devgroup --src-group 0 ! --dst-group 5 -j ACCEPT
-A FORWARD -m quota --quota 1000000 -j ACCEPT
-A FORWARD -p tcp --tcp-option 2 -j ACCEPT
-A FORWARD -m addrtype --dst-type UNREACHABLE -j ACCEPT
-A FORWARD -m physdev --physdev-is-bridged -j ACCEPT
-A FORWARD -m mac --mac-source 00:00:00:00:00:01 -j ACCEPT
-A FORWARD -m set ! --match-set nvtext src --packets-gt 5 ! --bytes-eq 7 ! --update-counters -j ACCEPT
-A FORWARD -m set --match-set nvtext src --return-nomatch -j ACCEPT
-A FORWARD -j SET --add-set nvtext src --exist
-A FORWARD -j AUDIT --type drop
-A FORWARD -j NFLOG --nflog-group 3
-A FORWARD -j NFQUEUE --queue-num 3
-A FORWARD -j NFQUEUE --queue-balance 3:6 --queue-bypass
-A OUTPUT -m owner --uid-owner 0 -j DROP
-A OUTPUT -m owner --socket-exists -j DROP
-A OUTPUT -m cgroup ! --cgroup 7 -j DROP
COMMIT
*nat
-A OUTPUT -p tcp -j REDIRECT --to-ports 80 --random
-A POSTROUTING -j MASQUERADE --random-fully
COMMIT
"""
FOUR = """*mangle
-A PREROUTING -p tcp -j TPROXY --on-port 8080 --tproxy-mark 1/1
-A FORWARD -p tcp -j ECN --ecn-tcp-remove
-A FORWARD -j TTL --ttl-inc 1
-A FORWARD -j TEE --gateway 10.0.0.1
COMMIT
*filter
-A FORWARD -m recent --set --name nvtext4 --rsource -j ACCEPT
-A FORWARD -m recent --update --seconds 60 --reap --hitcount 3 --rttl --name nvtext4 --rdest -j ACCEPT
-A FORWARD -m realm --realm 1 -j ACCEPT
-A FORWARD -p tcp -m osf --genre Linux -j ACCEPT
-A FORWARD -p ah -m ah --ahspi 80 -j ACCEPT
COMMIT
*nat
-A PREROUTING -j NETMAP --to 10.0.0.0/24
COMMIT
"""
SIX = """*mangle
-A PREROUTING -p tcp -j TPROXY --on-port 8080 --tproxy-mark 1/1
-A FORWARD -j HL --hl-inc 1
-A FORWARD -j TEE --gateway fd00::1
-A PREROUTING -s fd00::/64 -j DNPT --src-pfx fd00::/64 --dst-pfx fd01::/64
-A POSTROUTING -s fd00::/64 -j SNPT --src-pfx fd00::/64 --dst-pfx fd01::/64
COMMIT
*filter
-A FORWARD -m recent --set --name nvtext6 --rsource -j ACCEPT
-A FORWARD -m frag --fragid 1 -j ACCEPT
-A FORWARD -m hbh --hbh-len 1 -j ACCEPT
-A FORWARD -m dst --dst-len 1 -j ACCEPT
-A FORWARD -m rt --rt-type 0 -j ACCEPT
-A FORWARD -m ipv6header --header hop --soft -j ACCEPT
-A FORWARD -m ipv6header --header prot --soft -j ACCEPT
-A FORWARD -m eui64 -j ACCEPT
-A FORWARD -m srh --srh-next-hdr 17 -j ACCEPT
-A FORWARD -m ah --ahspi 80 -j ACCEPT
COMMIT
*nat
-A PREROUTING -j NETMAP --to fd00::/64
COMMIT
"""


def saved(ns: Namespace, program: str) -> list[str]:
    """The rules of a program's save, without their tables."""
    return [line for line in ns.exec(f"{program}-save").splitlines() if line.startswith("-A")]


@pytest.mark.parametrize("program", ["iptables", "ip6tables", "iptables-legacy", "ip6tables-legacy"])
def test_every_extension(program: str) -> None:
    """Word for word, of either backend and family."""
    six, legacy = program.startswith("ip6"), program.endswith("legacy")
    family = " family inet6" if six else ""
    with namespaces() as (ns,):
        ns.exec("ipset", "restore", input_text=f"create nvtext hash:net{family} counters\n")
        for text in (BOTH, SIX if six else FOUR):
            ns.exec(f"{program}-restore", "-n", input_text=text)
        reading = Netfilter().collect(ns.handle, (*(("xt_tables",) if legacy else NFT_SECTIONS), "ipsets"))
        sets = {one.name: one for one in reading.sections["ipsets"]}
        bodies = {digest: body.decode() for digest, body in reading.bodies.items()}
        mine = [
            f"-A {chain.name} {xt_rule_text(rule, six, sets)}"
            for chain in reading.sections["xt_chains" if legacy else "nft_chains"]
            if chain.body
            for rule in bodies[chain.body].rules  # type: ignore[union-attr]
        ]
        theirs = saved(ns, program)
        assert set(mine) ^ set(theirs) == set()
        assert sorted(mine) == sorted(theirs)


BRIDGE = """*filter
:nv-own ACCEPT
-A FORWARD -p IPv4 --ip-src 10.0.0.0/24 --ip-proto tcp --ip-dport 80:90 -j DROP
-A FORWARD -p IPv4 --ip-proto icmp --ip-icmp-type 8/0 -j DROP
-A FORWARD -p IPv4 --ip-tos ! 0x10 -j DROP
-A FORWARD -p IPv6 --ip6-dst fd00::1 --ip6-proto udp --ip6-dport 80 -j DROP
-A FORWARD -p ARP --arp-op Request --arp-ip-dst 10.0.0.1 -j DROP
-A FORWARD -p 802_1Q --vlan-id 3 -j DROP
-A FORWARD --mark 0x1/0xff -j DROP
-A FORWARD --pkttype-type ! host -j DROP
-A FORWARD -d BGA --stp-type 1 -j DROP
-A FORWARD -p LENGTH --802_3-sap 0x42 -j DROP
-A FORWARD -i v+ -o nv0 -s 00:00:00:00:00:01 --mark 0x5 -j ACCEPT
-A FORWARD --log --log-prefix nv -j CONTINUE
-A FORWARD --nflog-group 2 -j RETURN
-A FORWARD --mark 0x6 -j nv-own
-A nv-own -j mark --mark-or 0x10 --mark-target RETURN
*nat
-A PREROUTING -p IPv4 -j dnat --to-destination 00:00:00:00:00:03 --dnat-target CONTINUE
-A PREROUTING -p IPv4 -j redirect
-A PREROUTING -p ARP --arp-op Request -j arpreply --arpreply-mac 00:00:00:00:00:04
-A POSTROUTING -p IPv4 -j snat --to-source 00:00:00:00:00:03 --snat-arp
"""


def test_ebtables() -> None:
    """Word for word, but for rules that nftables' own words say."""
    with namespaces() as (ns,):
        ns.exec("ebtables-nft-restore", input_text=BRIDGE)
        reading = Netfilter().collect(ns.handle, NFT_SECTIONS)
        bodies = {digest: body.decode() for digest, body in reading.bodies.items()}
        mine = {
            f"-A {chain.name} {rule_text(rule, NFPROTO_BRIDGE)}"
            for chain in reading.sections["nft_chains"]
            if chain.body
            for rule in bodies[chain.body].rules  # type: ignore[union-attr]
            if is_xtables(rule)
        }
        theirs = {
            line.rstrip() for line in ns.exec("ebtables-nft-save").splitlines() if line.startswith("-A")
        }
        assert mine - theirs == set()
        assert theirs - mine == {"-A FORWARD --mark 0x6 -j nv-own"} - mine
