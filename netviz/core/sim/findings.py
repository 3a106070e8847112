"""What the courses of one flow have found out so far beside the packet's path: who hears a frame, where a tunnel leads.

A course repeats much of the one before: the same is sent, with the same memory. What it comes to depends on nothing else
but the choices that it meets, which are kept with it. The state is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import msgspec

from netviz.core.sim.memory import Memory

UNMADE: Final = -1


class Choice(msgspec.Struct):
    """A choice that a run made: one of `count`, with the probability of each (None: not known)."""

    key: Hashable
    picked: int
    count: int
    weights: tuple[float, ...] | None


class Met(msgspec.Struct):
    """The choices that a piece of work meets, as they stood before it: picked, or UNMADE. `made` are all that stood then."""

    made: Mapping[Hashable, int]
    keys: dict[Hashable, int]

    def meet(self, key: Hashable) -> None:
        """Note that a choice mattered."""
        if key not in self.keys:
            self.keys[key] = self.made.get(key, UNMADE)


class Found(msgspec.Struct, frozen=True):
    """What a piece of work came to: its result, and what it left. `before` is the memory that it began with."""

    before: Memory
    met: Mapping[Hashable, int]
    result: Any
    choices: tuple[Choice, ...]
    after: Memory

    def holds(self, memory: Memory, made: Mapping[Hashable, int], script: Sequence[int]) -> bool:
        """Tell whether the work would come to the same: `script` is what is picked next, and the first of all after it."""
        if any(made.get(key, UNMADE) != picked for key, picked in self.met.items()):
            return False
        for at, choice in enumerate(self.choices):
            if choice.picked != (script[at] if at < len(script) else 0):
                return False
        return self.before is memory or self.before == memory


Findings = dict[Hashable, list[Found]]
