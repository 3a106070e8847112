"""Whether a namespace tracks connections, and puts fragments together: rules that need it ask the kernel to.

Tracking is switched on for IPv4 and IPv6 apart: by a table of one for that one, by inet and bridge tables for both.
An empty chain of type nat, an unused legacy nat table, and what switches tracking off for a packet ask for nothing.

Source: net/netfilter/nf_conntrack_proto.c, nf_ct_netns_get; nft_ct.c, nft_nat.c, nft_masq.c, nft_redir.c,
nft_connlimit.c, nft_flow_offload.c, nft_synproxy.c; xt_CT.c, xct_tg_check; nf_nat_proto.c, nf_nat_ipv4_register_fn
(Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from netviz.core.model.netfilter import NFPROTO_IPV4, NFPROTO_IPV6, Body, ChainBody, NftChain, NftExpr
from netviz.core.sim.index import Index
from netviz.core.sim.one_read import one_read
from netviz.core.sim.run import Run
from netviz.core.sim.xtables.decode import decode_target
from netviz.core.sim.xtables.target_payloads import CtSet
from netviz.core.state.node import NetnsState

BOTH = frozenset((NFPROTO_IPV4, NFPROTO_IPV6))
OWN = 0  # the families of the expression's table
CT_EXPRS = frozenset(("ct", "nat", "masq", "redir", "synproxy", "flow_offload", "connlimit"))
CT_OBJECTS = frozenset((7, 9, 10))  # NFT_OBJECT_CT_TIMEOUT, _CT_EXPECT, _SYNPROXY
CT_MATCHES = frozenset(
    ("conntrack", "state", "connmark", "connlimit", "connbytes", "connlabel", "helper", "cluster")
)
CT_TARGETS = frozenset(
    ("CT", "CONNMARK", "CONNSECMARK", "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP", "SYNPROXY")
)
DEFRAGMENTING = frozenset(("TPROXY", "socket", "tproxy"))
XT_CT_NOTRACK = 1

Wants = frozenset[int]
_bodies: Index[ChainBody, tuple[Wants, Wants]] = Index(lambda body: _body_wants(body))

# What was found out of a section: it is asked for of each packet, and the answer stands at no single place.
_known: Index[Mapping[Any, NftChain], dict[tuple[int, int], bool]] = Index(lambda _chains: {})


def tracks_connections(run: Run, ns: NetnsState, ipv6: bool) -> bool:
    """Tell whether a namespace tracks the connections of a family: something in it has asked the kernel to."""
    return _asked(ns, ipv6, 0, bodies=run.cluster.bodies)


def defragments(run: Run, ns: NetnsState, ipv6: bool) -> bool:
    """Tell whether fragments are put together before the hooks of IPv4 and IPv6, as tracking and TPROXY need it.

    Source: net/netfilter/nf_conntrack_proto.c, nf_ct_netns_do_get; net/ipv4/netfilter/nf_defrag_ipv4.c;
    net/netfilter/xt_TPROXY.c, xt_socket.c, nft_tproxy.c (nf_defrag_ipv4_enable) (Linux 6.18).
    """
    bodies = run.cluster.bodies
    return _asked(ns, ipv6, 0, bodies=bodies) or _asked(ns, ipv6, 1, bodies=bodies)


@one_read(sections=("nft_chains", "xt_chains", "xt_tables"))
def _asked(ns: NetnsState, ipv6: bool, what: int, *, bodies: Mapping[bytes, Body]) -> bool:
    family = NFPROTO_IPV6 if ipv6 else NFPROTO_IPV4
    unread = any(
        table.name == "nat" and not table.read and table.family == family for table in ns.xt_tables.values()
    )
    return unread or any(
        _ask(bodies, chains, family, what) for chains in (ns.nft_chains, ns.xt_chains) if chains
    )


def _ask(bodies: Mapping[bytes, Body], chains: Mapping[Any, NftChain], family: int, what: int) -> bool:
    """Look for a rule that asks, no further than the first: reading all the rules of many services takes memory.

    Rules that haven't come may ask. They are taken to do so: chains that need tracking are then walked, and what
    isn't known of them is told, in place of passing them by.
    """
    memo = _known(chains)
    known = memo.get((family, what))
    if known is None:
        lacking = False
        for chain in chains.values():
            if not chain.body or (chain.family != family and chain.family in BOTH):
                continue
            body = bodies.get(chain.body)
            if not isinstance(body, ChainBody):
                lacking = True
            elif family in _of_table(_bodies(body)[what], chain.family):
                known = True
                break
        if known is None and lacking:
            return True
        known = memo[family, what] = bool(known)
    return known


def _of_table(wanted: Wants, family: int) -> Wants:
    own = frozenset((family,)) if family in BOTH else BOTH
    return wanted - {OWN} | own if OWN in wanted else wanted


def _body_wants(body: ChainBody) -> tuple[Wants, Wants]:
    exprs = [expr for rule in body.rules for expr in rule.exprs]
    tracked = frozenset(_family(expr) for expr in exprs if _tracks(expr))
    whole = any((expr.attrs.get("name") or expr.name) in DEFRAGMENTING for expr in exprs)
    return tracked, frozenset((OWN,)) if whole else frozenset()


def _family(expr: NftExpr) -> int:
    """Return the family that an expression tracks: the one of its table, but for a translation of one family."""
    family = int(expr.attrs.get("family", OWN)) if expr.name == "nat" else OWN
    return family if family in BOTH else OWN


def _tracks(expr: NftExpr) -> bool:
    name = expr.attrs.get("name")
    if expr.name == "match":
        return name in CT_MATCHES
    if expr.name == "target":
        return name in CT_TARGETS and not _switches_off(expr)
    if expr.name == "objref":
        return expr.attrs.get("imm_type") in CT_OBJECTS
    return expr.name in CT_EXPRS or any(one.get("name") in CT_EXPRS for one in _inner(expr))


def _inner(expr: NftExpr) -> Iterable[Mapping[str, Any]]:
    """List the expressions that an expression carries out for its set's elements."""
    return expr.attrs.get("expressions") or [expr.attrs.get("expr") or {}]


def _switches_off(expr: NftExpr) -> bool:
    """Tell whether a target CT is there to leave packets untracked (its `--notrack`)."""
    if expr.attrs.get("name") != "CT":
        return False
    decoded = decode_target("CT", expr.attrs.get("rev", 0), expr.attrs.get("info", b""), False)
    return isinstance(decoded, CtSet) and bool(decoded.flags & XT_CT_NOTRACK)
