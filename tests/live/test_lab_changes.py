"""What undoes a change is written down so that another process can read it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import msgspec
import pytest

from lab.changes import Changes
from lab.faults import FAULTS
from lab.faults.lessons import LESSONS
from lab.faults.routes import BY_ONE_ROUTE
from lab.kinds import KINDS
from lab.spec import ClusterSpec, ClusterState, FaultState, Inverse, NodeState
from lab.store import Store

OTHER = NodeState(
    "node2",
    2,
    "172.30.0.12",
    "fd30::c",
    "0a:58:ac:1e:00:0c",
    pod_cidr4="10.244.2.0/24",
    pod_cidr6="fd44:2::/64",
)


@pytest.mark.parametrize("kind", BY_ONE_ROUTE)
@pytest.mark.parametrize("family", [4, 6])
def test_another_process_makes_a_deleted_route_again(
    kind: str, family: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rtnl = MagicMock()
    monkeypatch.setattr(Changes, "_rtnl", lambda _self, _target: rtnl)
    route: dict[str, Any] = dict(KINDS[kind].route_to(OTHER, family))
    dst = OTHER.pod_cidr(family)
    changes = Changes(MagicMock())
    changes.delete_route("node1", dst, **route)
    store = Store(tmp_path, ClusterState(ClusterSpec("t")))
    with store.changing() as state:
        state.faults.append(FaultState("1", "route-missing", {}, changes.undo))
    (fault,) = Store.load(tmp_path).state.faults
    changes.revert(fault.undo)
    given = {name: value for name, value in route.items() if value is not None}
    rtnl.__enter__().add_route.assert_called_once_with(dst, **given)


def test_a_state_that_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    store = Store(tmp_path, ClusterState(ClusterSpec("t")))
    with store.changing():
        pass
    broken = Inverse("set_mtu", {"mtu": 1.5})  # type: ignore[dict-item]
    with pytest.raises(msgspec.ValidationError), store.changing() as state:
        state.faults.append(FaultState("1", "wrong-mtu", {}, [broken]))
    assert not Store.load(tmp_path).state.faults


def test_every_fault_teaches_and_names_nobody_that_it_does_not_use() -> None:
    assert set(LESSONS) == set(FAULTS)
    for name, lesson in LESSONS.items():
        named = set(re.findall(r"\b(?:OTHER-POD|NODE|OTHER|THIRD|POD)\b", lesson.cause + lesson.watch))
        assert named <= {"NODE", *(part.upper().replace("_", "-") for part in FAULTS[name].uses)}, name
