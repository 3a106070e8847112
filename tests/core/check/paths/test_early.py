"""What fails is told before all is judged, and what is known of pairs isn't traced again as forms get finer."""

from __future__ import annotations

import pytest

from netviz.core.check.paths import tracing
from netviz.core.state.node import ClusterState
from tests.core.check.paths.clusters import flannel
from tests.core.check.paths.test_pairs import differing, judged, one_by_one
from tests.core.sim.build import Net, Ns, textbook
from tests.core.sim.nft import ACCEPT, FORWARD, JUMP, chain, e, saddr, verdict


def without_route(net: Net, made: dict[str, Ns]) -> ClusterState:
    """The same cluster, in which node-1 has lost its route to node-2's pods."""
    routes = made["node-1"].lists["routes"]
    routes.remove(next(route for route in routes if route.dst == bytes((10, 1, 2, 0))))
    return net.cluster()


def test_what_fails_is_told_before_all_is_judged() -> None:
    net, made = textbook(4, 2)
    before = net.cluster()
    check = judged(before)
    broken = without_route(net, made)
    check.follow(broken)
    early = []
    while check.work():
        if check.done is before:
            early.append({problem.key: check.found_in(problem) for problem in check.problems()})
    (problem,) = check.problems()
    assert early[-1] == {problem.key: broken}
    assert (check.done, check.found_in(problem)) == (broken, broken)
    assert problem.affects.pairs == 8


def test_who_sends_pods_own_addresses_outside_is_told_before_all_is_judged() -> None:
    net, made = flannel(4, 2)
    before = net.cluster()
    check = judged(before)
    made["node-1"].lists["nft_chains"].clear()
    check.follow(net.cluster())
    kinds = []
    while check.work():
        if check.done is before:
            kinds.append([problem.kind for problem in check.problems()])
    assert kinds[-1] == ["not-masqueraded"] == [problem.kind for problem in check.problems()]


def test_a_state_is_given_up_when_what_fails_in_it_was_mended() -> None:
    net, made = textbook(4, 2)
    before = net.cluster()
    check = judged(before)
    broken = without_route(net, made)
    check.follow(broken)
    while not check.problems():
        assert check.work()
    (problem,) = check.problems()
    mended = ClusterState(dict(before.nodes), before.bodies)
    check.follow(mended)
    while check.work():
        assert check.done is before, "what was broken is not judged to the end"
        assert (check.problems(), check.found_in(problem)) == ((problem,), broken), (
            "nothing is over until all is judged"
        )
    assert (check.done, check.problems()) == (mended, ())


def test_rules_that_only_a_fault_meets_have_no_more_traced_again_than_met_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """node-1's chain tells its pods apart, but only what leaves by cni0 for elsewhere comes to it."""
    traced = []
    judge_pair = tracing.judge_pair
    monkeypatch.setattr(tracing, "judge_pair", lambda *args: traced.append(1) or judge_pair(*args))
    net, made = textbook(3, 3)
    node = made["node-1"]
    by_cni0 = (e("meta", dreg=1, key=6), e("cmp", sreg=1, op=0, data=b"cni0".ljust(16, b"\0")))
    by_ens3 = (e("meta", dreg=1, key=6), e("cmp", sreg=1, op=0, data=b"ens3".ljust(16, b"\0")))
    back = (e("meta", dreg=1, key=7), e("cmp", sreg=1, op=0, data=b"cni0".ljust(16, b"\0")))
    chain(node, "late", (*saddr("10.1.1.11"), verdict(ACCEPT)), (*saddr("10.1.1.12"), verdict(ACCEPT)))
    chain(
        node,
        "base",
        (*by_ens3, verdict(ACCEPT)),
        (
            *by_cni0,
            *back,
            e("payload", dreg=1, base=1, offset=16, len=3),
            e("cmp", sreg=1, op=0, data=bytes((10, 1, 2))),
            verdict(JUMP, "late"),
        ),
        hook=FORWARD,
    )
    check = judged(net.cluster())
    assert check.problems() == ()
    whole, classes = len(traced), check.counts()[1]
    traced.clear()
    without_route(net, made)
    node.route("10.1.2.0/24", dev="cni0")
    broken = net.cluster()
    judged(broken, check)
    assert check.counts()[1] > classes, "the chain tells pods apart"
    assert differing(broken, check, one_by_one(broken)) == []
    few = len(traced)
    traced.clear()
    judged(broken)
    assert few < len(traced), (few, len(traced), whole)
