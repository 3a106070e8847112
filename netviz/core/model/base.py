"""What every record of netviz's state has in common.

A record is an immutable msgspec Struct with a `key`: what tells it apart from the others of its
section, inside one network namespace (see `netviz.core.state.sections`). Records name things as the
kernel and iproute2 do, and hold addresses as the kernel does: packed bytes in network byte order
(4 bytes IPv4, 16 bytes IPv6, 6 bytes MAC). `netviz.core.model.addr` turns them into text and back.

Defaults are left out on the wire, and unknown fields are ignored when read, so a record can grow a
field without breaking an older peer. Records hold no reference cycles, so the garbage collector
doesn't track them: a server that holds millions of them pays nothing for that.
"""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Base of all state records: frozen, compared by value, compact on the wire."""


class Part(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Base of values inside a record (a nexthop, a bridge port): frozen, without a key of its own."""
