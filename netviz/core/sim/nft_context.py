"""What evaluating nftables rules works on: three truth values, verdicts, registers."""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec

from netviz.core.model.link import Link
from netviz.core.model.netfilter import NftExpr, NftSet
from netviz.core.sim.nft_sets import Words
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.state.node import NetnsState

REG_WORDS = 20


class Tri(Enum):
    """Three truth values."""

    TRUE = 1
    FALSE = 0
    UNKNOWN = -1


class Verdict(msgspec.Struct, frozen=True):
    """A verdict: NF_* or NFT_*, and the chain of a jump or goto."""

    code: int
    chain: str = ""


class Stop(msgspec.Struct, frozen=True):
    """An action that ends evaluation in a way that isn't modelled; `what` names it."""

    what: str


class Action(msgspec.Struct, frozen=True):
    """A statement that the caller carries out: nat, masq, redir, reject, ..."""

    expr: NftExpr


Result = Tri | Verdict | Stop | Action


class Context:
    """What a rule sees: the packet, where it is, the registers."""

    def __init__(
        self,
        run: Run,
        ns: NetnsState,
        packet: Packet,
        family: int,
        hook: int,
        iif: Link | None,
        oif: Link | None,
    ) -> None:
        self.run = run
        self.ns = ns
        self.packet = packet
        self.family = family
        self.hook = hook
        self.iif = iif
        self.oif = oif
        self.table = ""
        self.table_family = 0
        self.legacy = False
        self.rule_id: tuple[Any, ...] = ()
        self.regs: list[bytes | None] = [None] * REG_WORDS

    def reset(self) -> None:
        """Forget the registers, as between rules."""
        self.regs = [None] * REG_WORDS

    def load(self, reg: int, length: int) -> bytes | None:
        """Read `length` bytes from a register; None when a part isn't known."""
        at = word(reg)
        words = self.regs[at : at + (length + 3) // 4]
        known = [w for w in words if w is not None]
        if len(known) != (length + 3) // 4:
            return None
        return b"".join(known)[:length]

    def words(self, reg: int, length: int) -> Words:
        """Read a register word by word; None for each word that isn't known."""
        at = word(reg)
        return tuple(self.regs[at : at + (length + 3) // 4])

    def store(self, reg: int, data: bytes | None, length: int = 4) -> None:
        """Write bytes to a register, padded to words; None makes `length` bytes unknown."""
        at = word(reg)
        if data is None:
            for i in range(at, min(at + (length + 3) // 4, REG_WORDS)):
                self.regs[i] = None
            return
        padded = data + bytes(-len(data) % 4)
        for i in range(0, len(padded), 4):
            self.regs[at + i // 4] = padded[i : i + 4]

    def set_of(self, name: str) -> NftSet | None:
        """Find a set of the current table."""
        return self.ns.nft_sets.get((self.table_family, self.table, name))


def word(reg: int) -> int:
    """Return a register's first 4-byte word. Source: net/netfilter/nf_tables_api.c, nft_parse_register."""
    return reg * 4 if reg <= 4 else reg - 4


def data_of(value: Any) -> bytes:
    """Read a data attribute: bytes, or nested under "value"."""
    if isinstance(value, dict):
        value = value.get("value", b"")
    return bytes(value) if value is not None else b""


def verdict_of(value: Any) -> Verdict | None:
    """Read a verdict attribute."""
    if isinstance(value, dict):
        inner = value.get("verdict", value)
        if isinstance(inner, dict) and "code" in inner:
            return Verdict(int(inner["code"]), str(inner.get("chain", "")))
    return None
