"""With which address pods' packets go to the internet: what most nodes do, or what the cluster's setting says."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from netviz.core.check.paths.check import PathsCheck
from tests.core.check.paths.clusters import flannel


def not_masqueraded(setting: Mapping[int, bool] | None, *without: int) -> list[str]:
    """Name the nodes that are told, where some have no rules that masquerade."""
    net, made = flannel(3, 2)
    for n in without:
        chains = made[f"node-{n}"].lists["nft_chains"]
        chains[:] = [chain for chain in chains if chain.table != "nat"]
    check = PathsCheck(setting)
    check.follow(net.cluster())
    check.finish()
    assert {problem.kind for problem in check.problems()} <= {"not-masqueraded"}
    assert all(problem.affects.pods for problem in check.problems())
    return sorted(problem.where.node for problem in check.problems())


@pytest.mark.parametrize(
    ("setting", "without", "told"),
    [
        (None, (), []),
        (None, (2,), ["node-2"]),  # unlike most
        (None, (1, 2, 3), []),  # routable pods
        ({4: True}, (1, 2, 3), ["node-1", "node-2", "node-3"]),
        ({4: True}, (1, 2), ["node-1", "node-2"]),
        ({4: False}, (2,), []),
        ({16: True}, (2,), ["node-2"]),  # the other family's setting
    ],
)
def test_nodes_are_held_to_the_setting_or_to_what_most_do(
    setting: Mapping[int, bool] | None, without: tuple[int, ...], told: list[str]
) -> None:
    assert not_masqueraded(setting, *without) == told
