"""nftables records for tests, in the shape that the collector makes them."""

from __future__ import annotations

from typing import Any

from netviz.core.model.addr import pack_ip
from netviz.core.model.netfilter import (
    NF_ACCEPT,
    NFPROTO_IPV4,
    ChainBody,
    NftChain,
    NftExpr,
    NftRuleBody,
    NftSet,
    NftTable,
    SetBody,
    SetElem,
    body_digest,
)
from tests.core.sim.build import Ns

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
DROP, ACCEPT, JUMP, GOTO, RETURN = 0, 1, -3, -4, -5


def e(name: str, /, **attrs: Any) -> NftExpr:
    """Make an expression."""
    return NftExpr(name, attrs)


def verdict(code: int, chain: str = "") -> NftExpr:
    """Give a verdict."""
    return e("immediate", dreg=0, data={"code": code, "chain": chain})


def saddr(text: str, op: int = 0) -> tuple[NftExpr, NftExpr]:
    """Compare the source address."""
    return e("payload", dreg=1, base=1, offset=12, len=4), e("cmp", sreg=1, op=op, data=pack_ip(text))


def daddr(text: str, op: int = 0) -> tuple[NftExpr, NftExpr]:
    """Compare the destination address."""
    return e("payload", dreg=1, base=1, offset=16, len=4), e("cmp", sreg=1, op=op, data=pack_ip(text))


def dport(port: int, op: int = 0) -> tuple[NftExpr, NftExpr]:
    """Compare the destination port."""
    return e("payload", dreg=1, base=2, offset=2, len=2), e(
        "cmp", sreg=1, op=op, data=port.to_bytes(2, "big")
    )


def l4proto(number: int) -> tuple[NftExpr, NftExpr]:
    """Compare the protocol."""
    return e("meta", dreg=1, key=16), e("cmp", sreg=1, op=0, data=bytes([number]))


def ct_state(bits: int) -> tuple[NftExpr, NftExpr, NftExpr]:
    """Match `ct state` against a set of states."""
    return (
        e("ct", dreg=1, key=0),
        e("bitwise", sreg=1, dreg=1, len=4, op=0, mask=bits.to_bytes(4, "little"), xor=bytes(4)),
        e("cmp", sreg=1, op=1, data=bytes(4)),
    )


def dnat(addr: str, port: int | None = None) -> tuple[NftExpr, ...]:
    """Translate the destination."""
    load = [e("immediate", dreg=1, data=pack_ip(addr))]
    regs: dict[str, int] = {"reg_addr_min": 1, "reg_addr_max": 1}
    if port is not None:
        load.append(e("immediate", dreg=9, data=port.to_bytes(2, "big")))
        regs |= {"reg_proto_min": 9, "reg_proto_max": 9}
    return (*load, e("nat", type=1, family=2, flags=0, **regs))


def snat(addr: str) -> tuple[NftExpr, ...]:
    """Translate the source."""
    return (
        e("immediate", dreg=1, data=pack_ip(addr)),
        e("nat", type=0, family=2, flags=0, reg_addr_min=1, reg_addr_max=1),
    )


def table(ns: Ns, name: str = "t", family: int = NFPROTO_IPV4, flags: int = 0) -> None:
    """Make a table."""
    ns.add("nft_tables", NftTable(family, name, 1 + len(ns.lists.get("nft_tables", ())), flags))


def chain(
    ns: Ns,
    name: str,
    *rules: tuple[NftExpr, ...],
    hook: int | None = None,
    priority: int = 0,
    policy: int = NF_ACCEPT,
    type: str = "filter",
    tbl: str = "t",
    family: int = NFPROTO_IPV4,
    devs: tuple[str, ...] = (),
) -> NftChain:
    """Make a chain of rules (tuples of expressions)."""
    if not any(t.key == (family, tbl) for t in ns.lists.get("nft_tables", ())):
        table(ns, tbl, family)
    body = ChainBody(tuple(NftRuleBody(tuple(rule)) for rule in rules))
    digest = body_digest(body)
    ns.net.bodies[digest] = body
    number = 1 + len(ns.lists.get("nft_chains", ()))
    made = NftChain(
        family,
        tbl,
        name,
        number,
        type if hook is not None else "",
        hook,
        priority,
        policy,
        devs,
        0,
        digest,
        tuple(range(10, 10 + len(rules))),
    )
    ns.add("nft_chains", made)
    return made


def elements(
    ns: Ns,
    name: str,
    *elems: SetElem,
    key_len: int = 4,
    flags: int = 0,
    fields: tuple[int, ...] = (),
    tbl: str = "t",
) -> None:
    """Make a set or map."""
    body = SetBody(tuple(sorted(elems, key=lambda elem: (elem.key, elem.end))))
    digest = body_digest(body)
    ns.net.bodies[digest] = body
    made = NftSet(NFPROTO_IPV4, tbl, name, flags=flags, key_len=key_len, fields=fields, body=digest)
    ns.add("nft_sets", made)
