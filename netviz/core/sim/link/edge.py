"""What can be told at the edge of the known network: whether who gets the packet out there can answer it.

Only people read it: none of this changes where a packet goes.
"""

from __future__ import annotations

from bisect import bisect_left

from netviz.core.model.addr import in_prefix, pack_prefix
from netviz.core.model.ids import LinkKey
from netviz.core.model.link import IFF_LOOPBACK, Link
from netviz.core.model.netfilter import NFPROTO_IPV4, NFPROTO_IPV6, ChainBody, NftChain, SetBody
from netviz.core.sim.link.stray import find_stray
from netviz.core.sim.nft.index import MIN_RULES, chain_index, rule_keys
from netviz.core.sim.node_index import uppers_of
from netviz.core.sim.packet import Packet
from netviz.core.sim.route.saddr import link_addrs, owned_addrs
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Edge, SourceFault, Stray
from netviz.core.sim.trace import place_of
from netviz.core.state.node import NetnsState

# RFC 1918, 6598, 3927, 4193, 4291: nobody on the internet has a route back to these.
PRIVATE = tuple(
    pack_prefix(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
)


def at_edge(run: Run, ns: NetnsState, link: Link, packet: Packet) -> tuple[Stray | None, Edge | None]:
    """Judge a packet that a link of a node sends out of the known network: whose address it has, and what speaks against it."""
    stray = find_stray(run, ns.key, packet)
    source, dev = _source(run, ns, link, packet)
    node = run.node(ns.key).root
    translator = place_of(node.netns) if node is not None and _translates(run, node, packet.dst) else None
    return stray, Edge(source, dev, translator) if source or translator is not None else None


def is_private(addr: bytes) -> bool:
    """Tell whether the internet has no route to an address."""
    return any(len(addr) == len(net) and in_prefix(addr, net, length) for net, length in PRIVATE)


def _source(run: Run, ns: NetnsState, link: Link, packet: Packet) -> tuple[SourceFault, str]:
    """Tell what is wrong with a packet's source for the link by which it leaves."""
    here = {link.ifindex, link.master}
    subnets = [addr for ifindex in here for addr in link_addrs(ns, ifindex)]
    if any(len(a.addr) == len(packet.src) and in_prefix(packet.src, a.addr, a.prefixlen) for a in subnets):
        return "", ""
    owned = owned_addrs(ns, packet.src)
    for addr in owned:
        other = ns.links.get(addr.ifindex)
        if other is not None and not other.flags & IFF_LOOPBACK and other.kind != "dummy":
            return "another link", other.ifname
    above = uppers_of(run.node(ns.key).netns).get(LinkKey(ns.key, link.ifindex), ())
    stacked = any(owned_addrs(run.netns(key.netns), packet.src) for key in above)
    if owned or stacked or not is_private(packet.src) or is_private(packet.dst):
        return "", ""
    return "not translated", ""


def _translates(run: Run, ns: NetnsState, addr: bytes) -> bool:
    """Tell whether a namespace's NAT rules name a destination: base chains, those they jump to, and their maps."""
    if not is_private(addr):
        return False
    family = NFPROTO_IPV6 if len(addr) == 16 else NFPROTO_IPV4
    for chains in (ns.nft_chains, ns.xt_chains):
        for base in chains.values():
            body = _body(run, base) if base.hook is not None and base.type == "nat" else None
            if body is None or base.family != family:
                continue
            bodies = [body, *(_body(run, chains.get((family, base.table, name))) for name in _jumps(body))]
            if any(one is not None and _names(one, family, addr) for one in bodies):
                return True
    tables = {(chain.family, chain.table) for chain in ns.nft_chains.values() if chain.type == "nat"}
    for made in ns.nft_sets.values():
        found = run.cluster.bodies.get(made.body) if made.body else None
        mapped = (made.family, made.table) in tables and made.key_len > len(addr)
        if mapped and isinstance(found, SetBody) and found.elems and found.elems[0].verdict is not None:
            at = bisect_left(found.elems, addr, key=lambda elem: elem.key)
            if at < len(found.elems) and found.elems[at].key[: len(addr)] == addr:
                return True
    return False


def _body(run: Run, chain: NftChain | None) -> ChainBody | None:
    body = run.cluster.bodies.get(chain.body) if chain is not None and chain.body else None
    return body if isinstance(body, ChainBody) else None


def _jumps(body: ChainBody) -> set[str]:
    """List the chains to which a chain's rules jump."""
    data = (expr.attrs.get("data") for rule in body.rules for expr in rule.exprs if expr.name == "immediate")
    return {str(one["chain"]) for one in data if isinstance(one, dict) and one.get("chain")}


def _names(body: ChainBody, family: int, addr: bytes) -> bool:
    index = chain_index(body, family)
    if index is not None:
        return ("dst", addr) in index.keyed
    return len(body.rules) < MIN_RULES and any(
        rule_keys(rule, family).get("dst") == addr for rule in body.rules
    )
