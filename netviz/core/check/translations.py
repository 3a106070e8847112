"""What rules translate addresses to: read of a chain's body once, whoever has that chain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from netviz.core.model.netfilter import NFPROTO_IPV6, ChainBody, NftExpr, NftRuleBody, SetBody
from netviz.core.sim.xtables.decode import decode_target
from netviz.core.sim.xtables.target_payloads import Range

NFT_NAT_DNAT = 1
NF_NAT_RANGE_MAP_IPS = 1


class Translation(msgspec.Struct, frozen=True, gc=False):
    """What one rule gives packets as their source (`source`) or destination.

    That is `addr`, or one of those that the map `map` holds in the first `width` bytes of its elements' data.
    """

    source: bool
    addr: bytes = b""
    map: str = ""
    width: int = 0


class Read(msgspec.Struct, frozen=True, gc=False):
    """What was read of a chain: its translations, the maps by which it goes on in turn, chains that it goes to twice."""

    translations: tuple[Translation, ...] = ()
    turns: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()


NOTHING = Read()


def read_chain(body: ChainBody) -> Read:
    """Read what a chain's rules translate to, where it is written in them or in a map."""
    translations = tuple(found for rule in body.rules for found in _of_rule(rule))
    turns = tuple(name for rule in body.rules for name in _turns(rule))
    targets = Counter(name for rule in body.rules if (name := _endpoint(rule)))
    twice = tuple(name for name, count in targets.items() if count > 1)
    return Read(translations, turns, twice) if translations or turns or twice else NOTHING


def addresses_in(body: SetBody, width: int) -> tuple[bytes, ...]:
    """List the addresses that a map gives."""
    return tuple(dict.fromkeys(elem.data[:width] for elem in body.elems if len(elem.data) >= width))


def doubled_in(body: SetBody) -> tuple[tuple[bytes, str], ...]:
    """List what a map gives for more than one of its keys, as (data, chain)."""
    counts = Counter((elem.data, elem.chain) for elem in body.elems if elem.data or elem.chain)
    return tuple(given for given, count in counts.items() if count > 1)


def _of_rule(rule: NftRuleBody) -> Iterator[Translation]:
    registers: dict[Any, bytes | str] = {}
    for expr in rule.exprs:
        attrs = expr.attrs
        if expr.name == "immediate" and isinstance(attrs.get("data"), bytes):
            registers[attrs.get("dreg")] = attrs["data"]
        elif expr.name == "lookup" and "dreg" in attrs:
            registers[attrs["dreg"]] = str(attrs.get("set", ""))
        elif expr.name == "nat":
            source = attrs.get("type", 0) != NFT_NAT_DNAT
            low = registers.get(attrs.get("reg_addr_min"))
            high = registers.get(attrs.get("reg_addr_max"), low)
            if isinstance(low, str):
                yield Translation(source, map=low, width=16 if attrs.get("family") == NFPROTO_IPV6 else 4)
            elif low is not None and low == high and len(low) in (4, 16):
                yield Translation(source, low)
        elif expr.name == "target" and attrs.get("name") in ("DNAT", "SNAT"):
            yield from _of_target(expr)


def _of_target(expr: NftExpr) -> Iterator[Translation]:
    """A target of xtables keeps IPv4 addresses in the first 4 of 16 bytes, or has room for 4 alone."""
    attrs = expr.attrs
    decoded = decode_target(attrs["name"], attrs.get("rev", 0), attrs.get("info", b""), False)
    if isinstance(decoded, Range) and decoded.flags & NF_NAT_RANGE_MAP_IPS and decoded.low == decoded.high:
        addr = decoded.low
        yield Translation(attrs["name"] == "SNAT", addr if any(addr[4:]) else addr[:4])


def _turns(rule: NftRuleBody) -> Iterator[str]:
    """The maps that a rule looks a number up in that it draws, or counts."""
    if any(expr.name == "numgen" for expr in rule.exprs):
        yield from (str(expr.attrs.get("set", "")) for expr in rule.exprs if expr.name == "lookup")


def _endpoint(rule: NftRuleBody) -> str:
    """The chain of one of a service's endpoints that a rule of kube-proxy's goes to, or ""."""
    data = rule.exprs[-1].attrs.get("data") if rule.exprs else None
    chain = data.get("chain", "") if isinstance(data, dict) else ""
    recent = any(expr.attrs.get("name") == "recent" for expr in rule.exprs)
    return chain if chain.startswith("KUBE-SEP-") and not recent else ""
