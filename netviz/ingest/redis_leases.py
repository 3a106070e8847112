"""Which server processes live: each that owns nodes keeps a lease in Redis, which ends with it.

    netviz:alive:OWNER    expires LEASE_S after the owner last said that it lives

A process that dies cannot say that its collectors are gone. The others look at its lease each second,
so they know within LEASE_S and a look or two; and when Redis is away and nothing can be known, they say
so after LOST_S.
"""

from __future__ import annotations

import time
from collections.abc import Collection

import redis

PREFIX = "netviz:alive:"
LEASE_S = 5.0
RENEW_EVERY_S = 1.0
LOST_S = 8.0


def lease_key(owner: str) -> str:
    """Name the key of a process's lease."""
    return PREFIX + owner


class Leases:
    """This process's lease, and what is known of the others'."""

    def __init__(self, client: redis.Redis, me: str) -> None:
        self._redis = client
        self._me = me
        # owner -> when its lease was last looked for, and last seen (monotonic)
        self._looked_at: dict[str, float] = {}
        self._seen_at: dict[str, float] = {}

    def renew(self) -> None:
        """Say that this process lives."""
        self._redis.set(lease_key(self._me), b"1", px=int(LEASE_S * 1000))

    def release(self) -> None:
        """Say that this process ends."""
        self._redis.delete(lease_key(self._me))

    def any(self) -> bool:
        """Tell whether any process lives."""
        return next(self._redis.scan_iter(match=PREFIX + "*", count=1000), None) is not None

    def look(self, owners: Collection[str]) -> None:
        """Look for processes' leases, and for no others' any more."""
        names = list(owners)
        held = self._redis.mget([lease_key(name) for name in names]) if names else []
        now = time.monotonic()
        seen = {name: self._seen_at[name] for name in names if name in self._seen_at}
        for name, lease in zip(names, held, strict=True):
            if lease is not None:
                seen[name] = now
            else:
                seen.pop(name, None)
        self._looked_at, self._seen_at = dict.fromkeys(names, now), seen

    def alive(self, owner: str) -> bool:
        """Tell whether a process lives, looking for its lease when nobody has yet."""
        if owner not in self._looked_at:
            self.look({*self._looked_at, owner})
        return self.seen(owner)

    def seen(self, owner: str) -> bool:
        """Tell whether a process's lease was seen at the last look, which isn't long ago."""
        return time.monotonic() - self._seen_at.get(owner, -LOST_S) < LOST_S
