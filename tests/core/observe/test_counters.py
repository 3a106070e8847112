"""Legacy rules beside what they counted: just the probe, more than it, or nothing."""

from __future__ import annotations

import pytest

from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.netfilter import NFPROTO_IPV4, ChainBody, NftChain, NftRuleBody
from netviz.core.observe.counters import Counted, Counts, Met, XtTable, differences, met
from netviz.core.sim.packet import IPPROTO_TCP, Packet
from netviz.core.sim.steps import ChainRef, HookVerdict, Place, RuleHit
from netviz.core.sim.trace import Disposition, Hop, Path, Step
from netviz.core.state.node import NetnsState
from tests.core.sim.build import textbook

KEY = NetnsKey("n", 4, 1, 0)
TABLE = XtTable(str(KEY), NFPROTO_IPV4, "filter")
BODY = ChainBody((NftRuleBody(()), NftRuleBody(())))
PACKET = Packet(b"\x0a\0\0\1", b"\x0a\0\0\2", IPPROTO_TCP, 1000, 80, length=60)


def path_of(ns: NetnsState, *, legacy: bool = True) -> Path:
    """A packet that jumps from FORWARD's second rule, to be dropped by the first of a chain."""
    ref = ChainRef(NftChain(NFPROTO_IPV4, "filter", "FORWARD"), ns, {}, legacy)
    what = HookVerdict(
        "drop",
        chain=ref,
        hook="forward",
        hit=RuleHit("KUBE", BODY, 0),
        matched=(RuleHit("FORWARD", BODY, 1),),
    )
    step = Step(1, LinkKey(KEY, 2), "cni0", PACKET, None, what)
    return Path(Disposition.DROPPED, "NETFILTER_DROP", (Hop(Place(KEY, str(KEY)), (step,)),))


@pytest.mark.parametrize(
    ("counted", "found"),
    [
        ((1, 60), Met("agree")),
        (None, Met("not_seen", "the rule counted nothing")),
        (
            (3, 164),
            Met("ambiguous", "the rule counted 3 packets with 164 bytes, the probe's would be 1 with 60"),
        ),
        (
            (1, 52),
            Met("ambiguous", "the rule counted 1 packet with 52 bytes, the probe's would be 1 with 60"),
        ),
    ],
)
def test_a_rule_that_decides(counted: tuple[int, int] | None, found: Met) -> None:
    ns = next(iter(textbook()[0].cluster().nodes["node-1"].netns.values()))
    told = (Counted(TABLE, "KUBE", 0, *counted),) if counted is not None else ()
    assert met([path_of(ns)], [Counts((TABLE,), told)], str) == {1: found}
    assert met([path_of(ns)], [Counts((), told)], str) == {}
    assert met([path_of(ns, legacy=False)], [Counts((TABLE,), told)], str) == {}


def test_what_was_counted_meanwhile() -> None:
    before = [("A", 0, 5, 300), ("A", 1, 1, 60)]
    after = [("A", 0, 6, 360), ("A", 1, 1, 60), ("B", 2, 1, 52)]
    assert differences(TABLE, before, after) == (
        Counted(TABLE, "A", 0, 1, 60),
        Counted(TABLE, "B", 2, 1, 52),
    )
