"""From one report to the next: which problem is new, which is the one from before, and which is over.

    (young) --SETTLE_S--> found --not found--> gone --grace--> ended
                            ^                    |
                            +----found again-----+

What has stood for SETTLE_S, or for as long as its check asks, is a problem: while a pod is made or a rule set replaced,
much is true for a moment. Stood: a state of so much later has it too, because it was judged, or because it answers alike
all that the failing flow's trace asked. What isn't found any more is gone, and over when that has lasted for a grace,
which doubles with each return: so a fault that comes and goes is one problem, and told once. What can't be seen is not
over: a problem stays as long as something that it rests on isn't known. No clock: time is passed in, in Unix seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal, NamedTuple

import msgspec

from netviz.core.check.problem import Problem as Found

SETTLE_S = 0.7
# After a restart of the server the collectors connect again within 10 s, and send their whole state.
COLLECTORS_RETURN_S = 30.0
GRACE_S = 10.0
LONGEST_GRACE_S = 300.0
MOST_POINTS = 200


class Sight(NamedTuple):
    """How much of the cluster can be seen.

    `away`: node -> why nothing current is known of it; `gaps`: (node, section) -> why it isn't whole; `fresh`: nodes
    that come into sight with this report, so that what is found there may have been there for long; `silent`: nodes
    that were known when this began, of which nothing was heard since. `judged` are the kinds of which the report
    has all that there are; None: of every kind.
    """

    away: Mapping[str, str] = {}
    gaps: Mapping[tuple[str, str], str] = {}
    fresh: Collection[str] = ()
    silent: Collection[str] = ()
    judged: Collection[str] | None = None


class Kept(msgspec.Struct):
    """A problem that isn't over. `began_s` None: it was there when it was found.

    `row` is its number in the database; `traced`: its flow was, or needn't be. `curve` is how many pairs it affected
    from when on, in Unix seconds.
    """

    found: Found
    found_s: float
    began_s: float | None
    gone_s: float | None = None
    returns: int = 0
    unverified: str = ""
    row: int | None = None
    traced: bool = False
    curve: list[tuple[float, int]] = []

    def plot(self, now_s: float) -> None:
        """Note how many pairs it affects, if that is another number than before; of long curves the older half thins out."""
        pairs = 0 if self.gone_s is not None else self.found.affects.pairs
        at_s = self.gone_s if self.gone_s is not None else now_s
        if not self.curve:
            at_s = self.began_s or self.found_s
        if not self.curve or self.curve[-1][1] != pairs:
            self.curve.append((round(max(at_s, self.curve[-1][0] if self.curve else 0.0), 1), pairs))
        if len(self.curve) > MOST_POINTS:
            half = MOST_POINTS // 2
            self.curve = [*self.curve[:half:2], *self.curve[half:]]

    @property
    def grace_s(self) -> float:
        """How long it must be gone to be over."""
        return min(GRACE_S * 2.0 ** min(self.returns, 10), LONGEST_GRACE_S)


class Step(NamedTuple):
    """What a report did to a problem. "changed": it says something else of the same cause."""

    what: Literal["found", "changed", "gone", "returned", "ended"]
    kept: Kept


class _Young(NamedTuple):
    since_s: float
    began_s: float | None
    ripe_s: float


class Ledger:
    """The problems that aren't over, by key; begun with those that an earlier process kept."""

    def __init__(self, kept: Iterable[Kept] = ()) -> None:
        self.kept: dict[str, Kept] = {one.found.key: one for one in kept}
        self._young: dict[str, _Young] = {}
        self._folded_s = 0.0

    def fold(
        self,
        found: Iterable[Found],
        sight: Sight,
        now_s: float,
        state_s: Callable[[Found], float] | None = None,
        lasts: Callable[[Found], bool] | None = None,
    ) -> list[Step]:
        """Take a report in; return what it changed, in the report's order, then what is gone or over.

        `state_s` says of what moment the state is in which a problem was looked for; without, of now. `lasts` tells whether
        the state of now is proved to have a problem that was found in an earlier one.
        """
        said_s = state_s or (lambda one: now_s)
        self._folded_s = now_s
        by_key = {one.key: one for one in found}
        self._young = {key: young for key, young in self._young.items() if key in by_key}
        steps: list[Step] = []
        for key, one in by_key.items():
            known = self.kept.get(key)
            if known is not None:
                steps.extend(self._seen(known, one, sight))
            elif (new := self._grown(key, one, sight, said_s(one), now_s, lasts)) is not None:
                self.kept[key] = new
                steps.append(Step("found", new))
        for key, kept in list(self.kept.items()):
            if key not in by_key and (sight.judged is None or kept.found.kind in sight.judged):
                steps.extend(self._unseen(key, kept, sight, now_s, said_s(kept.found)))
        return steps

    def due_s(self) -> float | None:
        """When something ripens without a report that says anything new; None: nothing waits.

        What was due by the last report, and nothing came of it, waits for a state that is judged.
        """
        waits = [young.ripe_s for young in self._young.values()]
        waits += [kept.gone_s + kept.grace_s for kept in self.kept.values() if kept.gone_s is not None]
        return min((due_s for due_s in waits if due_s > self._folded_s), default=None)

    def _grown(
        self,
        key: str,
        one: Found,
        sight: Sight,
        said_s: float,
        now_s: float,
        lasts: Callable[[Found], bool] | None,
    ) -> Kept | None:
        young = self._young.get(key)
        if young is None:
            nodes = {one.where.node, *(node for node, _ in one.rests_on)}
            silent = one.where.node in sight.silent
            there = silent or not nodes.isdisjoint(sight.fresh)
            ripe_s = said_s + max(SETTLE_S, one.grace_s, COLLECTORS_RETURN_S if silent else 0.0)
            young = self._young[key] = _Young(said_s, None if there else said_s, ripe_s)
        if said_s < young.ripe_s and (now_s < young.ripe_s or lasts is None or not lasts(one)):
            return None  # no state that is so much later is known to have it yet
        del self._young[key]
        return Kept(one, young.since_s, young.began_s, unverified=hidden(one, sight))

    def _seen(self, kept: Kept, one: Found, sight: Sight) -> Iterable[Step]:
        before = (kept.found, kept.unverified)
        kept.found, kept.unverified = one, hidden(one, sight)
        if kept.gone_s is not None:
            kept.gone_s = None
            kept.returns += 1
            yield Step("returned", kept)
        elif before != (kept.found, kept.unverified):
            yield Step("changed", kept)

    def _unseen(self, key: str, kept: Kept, sight: Sight, now_s: float, said_s: float) -> Iterable[Step]:
        before, kept.unverified = kept.unverified, hidden(kept.found, sight)
        if kept.unverified:
            kept.gone_s, was_gone = None, kept.gone_s is not None
            if was_gone or before != kept.unverified:
                yield Step("changed", kept)
        elif kept.gone_s is None:
            kept.gone_s = max(said_s, kept.found_s)
            yield Step("gone", kept)
        elif now_s >= kept.gone_s + kept.grace_s:
            del self.kept[key]
            yield Step("ended", kept)


def hidden(one: Found, sight: Sight) -> str:
    """Say what of that which a problem rests on isn't known now; "": all is."""
    for node, _ in sorted(one.rests_on):
        if node in sight.away:
            return sight.away[node]
    return next((sight.gaps[part] for part in sorted(one.rests_on) if part in sight.gaps), "")
