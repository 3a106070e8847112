"""Whether rules translate to addresses that somebody has: services' endpoints, and sources that answers come back to."""

from __future__ import annotations

from collections.abc import Iterator

from netviz.core.check.claims import CLAIMS
from netviz.core.check.fact import Fact, Look
from netviz.core.check.nobody import ASKS, nobody_has
from netviz.core.check.problem import Problem
from netviz.core.check.text import affects, chain_listing, command, place
from netviz.core.check.translations import NOTHING, Read, addresses_in, doubled_in, read_chain
from netviz.core.model.addr import format_ip, in_prefix
from netviz.core.model.netfilter import ChainBody, NftChain, SetBody
from netviz.core.sim.trace import pod_name
from netviz.core.state.node import NetnsState

MAX_SHARED = 500_000
PORT_BYTES = 4
# kube-proxy follows a change of endpoints within some seconds.
GRACE_S = 10.0


def _find(look: Look) -> Iterator[Problem]:
    root = look.root
    if root is None:
        return
    own = {addr.addr for addr in root.addrs.values()}
    seen: set[tuple[bool, bytes]] = set()
    for legacy, chains in ((False, root.nft_chains), (True, root.xt_chains)):
        for chain in chains.values():
            read = _read(look, chain)
            if read is NOTHING:
                continue
            yield from _twice(look, root, chain, read, legacy)
            for source, addr in _translated(look, root, chain, read):
                look.judged += 1
                if (source, addr) in seen:
                    continue
                seen.add((source, addr))
                if source and addr not in own:
                    yield from _foreign_source(look, root, chain, addr, legacy)
                elif not source and nobody_has(look, root, addr):
                    yield _stale_endpoint(look, root, chain, addr, legacy)


def _read(look: Look, chain: NftChain) -> Read:
    if not chain.body:
        return NOTHING
    known: Read | None = look.shared.get(chain.body)
    if known is None:
        body = look.bodies.get(chain.body)
        if not isinstance(body, ChainBody):
            look.unknown[f"{look.node.node}: the rules of chain {chain.name} are missing"] = None
            return NOTHING
        if len(look.shared) > MAX_SHARED:
            look.shared.clear()
        known = look.shared[chain.body] = read_chain(body)
    return known


def _map(look: Look, root: NetnsState, chain: NftChain, name: str) -> SetBody | None:
    record = root.nft_sets.get((chain.family, chain.table, name))
    if record is None or not record.body:
        return None
    body = look.bodies.get(record.body)
    if isinstance(body, SetBody):
        return body
    look.unknown[f"{look.node.node}: the elements of map {name} are missing"] = None
    return None


def _translated(look: Look, root: NetnsState, chain: NftChain, read: Read) -> Iterator[tuple[bool, bytes]]:
    """What a chain translates to, as (source?, address)."""
    for one in read.translations:
        if not one.map:
            yield one.source, one.addr
        elif (body := _map(look, root, chain, one.map)) is not None:
            yield from ((one.source, addr) for addr in addresses_in(body, one.width))


def _twice(look: Look, root: NetnsState, chain: NftChain, read: Read, legacy: bool) -> Iterator[Problem]:
    """Endpoints that a chain lists more than once."""
    maps = (_map(look, root, chain, name) for name in read.turns)
    doubled = {name or _endpoint_text(data) for body in maps if body for data, name in doubled_in(body)}
    for what in sorted({*doubled, *read.twice}):
        yield Problem(
            kind="doubled-endpoint",
            cause=f"{root.key.node}:{chain.family}:{chain.table}:{chain.name}:{what}",
            severity="warning",
            harm="degrades",
            headline=f"{root.key.node}'s rules list {what} more than once: chain {chain.name}",
            consequence="Of what the node and its pods send to this service, that endpoint gets more than its share.",
            where=place(root.netns),
            check=(command(root.netns, chain_listing(chain, legacy)),),
            rests_on=look.rests_on(),
            grace_s=GRACE_S,
        )


def _endpoint_text(data: bytes) -> str:
    """Write an address and a port in a map's data: the port is padded to 4 bytes."""
    addr, port = data[:-PORT_BYTES], int.from_bytes(data[-PORT_BYTES:][:2], "big")
    if len(addr) not in (4, 16):
        return data.hex(":")
    return f"[{format_ip(addr)}]:{port}" if len(addr) == 16 else f"{format_ip(addr)}:{port}"


def _stale_endpoint(
    look: Look, root: NetnsState, chain: NftChain, translated: bytes, legacy: bool
) -> Problem:
    node, addr = root.key.node, format_ip(translated)
    return Problem(
        kind="stale-endpoint",
        cause=f"{node}:{addr}",
        severity="error",
        harm="breaks traffic",
        headline=f"{node}'s rules lead to {addr}, which nobody has: chain {chain.name}",
        consequence="What these rules choose that address for gets no answer.",
        where=place(root.netns),
        affects=affects(pod_name(pod.netns) for pod in look.wiring.pods),
        check=(command(root.netns, chain_listing(chain, legacy)),),
        rests_on=look.rests_on(),
        grace_s=GRACE_S,
    )


def _foreign_source(
    look: Look, root: NetnsState, chain: NftChain, translated: bytes, legacy: bool
) -> Iterator[Problem]:
    """A source that isn't the node's: another node's for sure gets the answers; nobody's on the wire hardly comes back."""
    node, addr = root.key.node, format_ip(translated)
    others = [name for name, mine in look.find(CLAIMS, translated) for claim in mine if claim.rank == "node"]
    on_wire = any(
        link.ifindex in look.wiring.wires or link.ifindex in {root.links[w].master for w in look.wiring.wires}
        for held in root.addrs.values()
        if in_prefix(translated, held.addr, held.prefixlen)
        for link in (root.links.get(held.ifindex),)
        if link is not None
    )
    if not others and not on_wire:
        return
    whose = f"is {others[0]}'s" if others else "isn't its own"
    yield Problem(
        kind="foreign-source",
        cause=f"{node}:{addr}",
        both=f"{node}:{chain.table}:{chain.name}",
        severity="error",
        harm="breaks traffic",
        headline=f"{node} rewrites sources to {addr}, which {whose}: chain {chain.name}",
        consequence=f"Answers to what these rules rewrite don't come back to {node}.",
        where=place(root.netns),
        certainty="certain" if others else "likely",
        affects=affects(pod_name(pod.netns) for pod in look.wiring.pods),
        check=(
            command(root.netns, chain_listing(chain, legacy)),
            command(root.netns, f"ip addr show to {addr}"),
        ),
        rests_on=look.rests_on(*others[:1]),
    )


FACT = Fact(
    name="translations",
    demands="What rules translate to is an address that somebody has.",
    unit="rules",
    kinds=("stale-endpoint", "foreign-source", "doubled-endpoint"),
    needs=("nft_chains", "nft_sets", "xt_chains", "links", "addrs", "routes", "rules"),
    find=_find,
    asks=ASKS,
    lazy=True,
)
