"""Where kernels first did otherwise than predicted: the step, in the order of the path."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from netviz.core.observe.match import BranchMatch, Extra, Match, PathMatch
from netviz.core.sim.trace import Step


class Difference(msgspec.Struct, frozen=True):
    """What speaks against a prediction: a step that isn't so (`match`), or what was seen `extra`, after the step `after`.

    `forward`: on the way to the target; else of the answer. `after` is None before all.
    """

    forward: bool
    after: Step | None
    match: Match | None = None
    extra: Extra | None = None


def first_difference(branch: BranchMatch) -> Difference | None:
    """Return the first; None where nothing speaks against the branch."""
    paths = ((True, branch.forward), (False, branch.reply))
    return next((one for forward, path in paths if path is not None for one in _of_path(forward, path)), None)


def where_it_is(first: Difference) -> str:
    """Name the place of a difference in a few words: the direction, the step's device, and its node."""
    step = first.match.step if first.match is not None else first.after
    way = "on the way there" if first.forward else "on the way back"
    if step is None:
        return f"{way}, before anything predicted"
    where = f"at {step.dev} on {step.node}" if step.dev else f"on {step.node}"
    return (
        f"{way} {where}"
        if first.match is not None
        else f"{way}, after {step.dev or step.kind} on {step.node}"
    )


def _of_path(forward: bool, path: PathMatch) -> Iterator[Difference]:
    """Yield what differs in the order of the path. What has no time of its own comes last of its place."""
    before: Step | None = None
    yield from (Difference(forward, None, extra=extra) for extra in path.extra if extra.after == 0)
    for match in path.matches:
        if match.status == "disagree" or (match.status == "not_seen" and match.visible):
            yield Difference(forward, before, match=match)
        before = match.step
        for extra in path.extra:
            if extra.after == match.step.seq:
                yield Difference(forward, before, extra=extra)
