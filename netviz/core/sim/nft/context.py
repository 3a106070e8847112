"""What evaluating nftables rules works on: three truth values, verdicts, registers.

A number that the kernel draws at random (numgen, a hash with a secret seed) stands in a register as what it
is: evenly spread. Only what looks at it makes the run choose, and among as few courses as there are different
outcomes, each with its odds.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import Any

import msgspec

from netviz.core.model.link import Link
from netviz.core.model.netfilter import NFPROTO_IPV4, NFPROTO_IPV6, NftChain, NftExpr, NftSet
from netviz.core.sim.attrs import Verdict
from netviz.core.sim.conn import Conn
from netviz.core.sim.nft.elements import find_set
from netviz.core.sim.nft.sets import Words
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import ChainRef, Copy
from netviz.core.state.node import NetnsState

REG_WORDS = 20
MAX_COURSES = 64
NF_INET_INGRESS, NF_NETDEV_EGRESS = 5, 6  # the latter is 1 in its own family


class Tri(Enum):
    """Three truth values."""

    TRUE = 1
    FALSE = 0
    UNKNOWN = -1


class Stop(msgspec.Struct, frozen=True, gc=False):
    """An action that ends evaluation in a way that isn't modelled; `what` names it."""

    what: str


class Statement(msgspec.Struct, frozen=True, gc=False):
    """A statement that the caller carries out: nat, masq, redir, reject, fwd, ..."""

    expr: NftExpr


class Uniform(msgspec.Struct, frozen=True, gc=False):
    """A number evenly spread over `offset` to `offset + modulus - 1`; `big` says that it is in network order."""

    modulus: int
    offset: int
    key: Hashable
    big: bool = False

    def data(self, number: int) -> bytes:
        """Return the register's bytes for one of the numbers."""
        return (number & 0xFFFFFFFF).to_bytes(4, "big" if self.big else "little")

    def below(self, limit: int) -> int:
        """Count the numbers below `limit`."""
        return max(0, min(self.modulus, limit - self.offset))


Result = Tri | Verdict | Stop | Statement


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
        nexthop: bytes = b"",
    ) -> None:
        self.run = run
        self.ns = ns
        self.packet = packet
        self.family = family
        self.hook = hook
        self.iif = iif
        self.oif = oif
        self.nexthop = nexthop
        self.rerouted: Packet | None = None
        self.copies: list[Copy] = []  # that the chain's rules send
        self.uniform: dict[int, Uniform] = {}
        self.partial: dict[int, tuple[int, int]] = {}
        self.table = ""
        self.table_family = 0
        self.legacy = False
        self.chain: NftChain | None = None
        self.number = self.position = 0
        self.regs: list[bytes | None] = [None] * REG_WORDS

    def begin_rule(self, chain: NftChain, number: int) -> None:
        """Begin a chain's rule: it finds nothing in the registers."""
        self.chain, self.number = chain, number
        self.reset()

    def reset(self) -> None:
        """Forget the registers, as between rules."""
        self.regs = [None] * REG_WORDS
        self.uniform = {}
        self.partial = {}

    @property
    def rule_id(self) -> tuple[Any, ...]:
        """What identifies the expression that is evaluated, in a run's choices."""
        return (self.chain.key if self.chain is not None else None, self.number, self.position, self.hook)

    def load(self, reg: int, length: int) -> bytes | None:
        """Read `length` bytes from a register; None when a part isn't known."""
        at = word(reg)
        self._settle(at, (length + 3) // 4)
        words = self.regs[at : at + (length + 3) // 4]
        known = [w for w in words if w is not None]
        if len(known) != (length + 3) // 4:
            return None
        return b"".join(known)[:length]

    def words(self, reg: int, length: int) -> Words:
        """Read a register word by word; None for each word that isn't known."""
        at = word(reg)
        self._settle(at, (length + 3) // 4)
        return tuple(self.regs[at : at + (length + 3) // 4])

    def spread(self, reg: int, length: int) -> Uniform | None:
        """Return what is known of a random number in a register; None where a plain value is."""
        return self.uniform.get(word(reg)) if length == 4 else None

    def store_spread(self, reg: int, spread: Uniform) -> None:
        """Put a random number into a register."""
        self.regs[word(reg)] = None
        self.uniform[word(reg)] = spread

    def bits(self, reg: int, length: int) -> tuple[int, int] | None:
        """Return a register of one word as (number, mask of the bits that aren't known), or None.

        Both count as the packet's bytes do, the first byte the most significant.
        """
        have = self.load(reg, length)
        return (int.from_bytes(have, "big"), 0) if have is not None else self.partial.get(word(reg))

    def store_bits(self, reg: int, number: int, unknown: int, length: int) -> None:
        """Put a number into a register of which some bits aren't known."""
        self.store(reg, None if unknown else number.to_bytes(length, "big"), length)
        if unknown:
            self.partial[word(reg)] = (number & ~unknown, unknown)

    def _settle(self, at: int, count: int) -> None:
        """Choose the random numbers among some words, where there are few enough to follow each."""
        for index in range(at, at + count) if self.uniform else ():
            spread = self.uniform.pop(index, None)
            if spread is not None and spread.modulus <= MAX_COURSES:
                odds = (1 / spread.modulus,) * spread.modulus
                picked = self.run.choose(spread.key, spread.modulus, odds)
                self.regs[index] = spread.data(spread.offset + picked)

    def store(self, reg: int, data: bytes | None, length: int = 4) -> None:
        """Write bytes to a register, padded to words; None makes `length` bytes unknown."""
        at = word(reg)
        for i in range(at, at + (max(length, len(data or b"")) + 3) // 4) if self.uniform else ():
            self.uniform.pop(i, None)
        if self.partial:
            self.partial.pop(at, None)
        if data is None:
            for i in range(at, min(at + (length + 3) // 4, REG_WORDS)):
                self.regs[i] = None
            return
        padded = data + bytes(-len(data) % 4)
        for i in range(0, len(padded), 4):
            self.regs[at + i // 4] = padded[i : i + 4]

    @property
    def conn(self) -> Conn | None:
        """The packet's connection as it is now."""
        return self.run.conn(self.packet.ct)

    @property
    def bridged(self) -> bool:
        """Whether the packet is seen as a frame: in the bridge, netdev and arp families."""
        return self.family not in (NFPROTO_IPV4, NFPROTO_IPV6)

    def chain_ref(self, chain: NftChain) -> ChainRef:
        """Refer to a chain, with what the text of its rules needs."""
        return ChainRef(chain, self.ns, self.run.cluster.bodies, self.legacy)

    def set_of(self, name: str) -> NftSet | None:
        """Find a set of the current table."""
        return find_set(self.ns, (self.table_family, self.table, name))


def word(reg: int) -> int:
    """Return a register's first 4-byte word. Source: net/netfilter/nf_tables_api.c, nft_parse_register."""
    return reg * 4 if reg <= 4 else reg - 4
