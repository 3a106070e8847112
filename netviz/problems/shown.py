"""Problems and the checking as JSON shows them: the same objects for the API, the pages' feed and the metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from django.db.models.functions import Now

from netviz.core.check.problem import Problem as Found
from netviz.core.check.problem import Where
from netviz.core.model.addr import format_ip
from netviz.core.sim.trace import Flow
from netviz.problems.leadership import ROW
from netviz.problems.models import Checking, Problem

VERSION = 1
HARMS = ("breaks traffic", "breaks the contract", "degrades", "at risk", "not known")
STATES = ("stopped", "failing", "first", "behind", "current")
PROTOCOLS = {1: "icmp", 58: "icmp", 6: "tcp", 17: "udp"}
# A round that takes longer is told: until then, checks follow the state.
BEHIND = timedelta(seconds=3)


def current() -> QuerySet[Problem]:
    """The problems that aren't over, without their traces, the worst and widest first."""
    rows = list_of(Problem.objects.filter(ended_at=None))
    return rows.order_by("-pairs", "pk")


def list_of(rows: QuerySet[Problem]) -> QuerySet[Problem]:
    """Rows without their large column; `traced` says whether they have it."""
    traced = ExpressionWrapper(Q(packed__isnull=False), BooleanField())
    return rows.defer("packed").annotate(traced=traced)


def problem_json(row: Problem, now: datetime, trace: dict[str, Any] | None = None) -> dict[str, Any]:
    """A problem as the API has it, without which pairs it affects. `row` comes from `list_of`.

    `since` is null where it was there before anybody looked (it is older than `found` then); `gone` says since when
    it isn't found any more, `until` that this is believed; `unverified` what isn't known now that it rests on.
    """
    found = _found(row)
    return {
        "id": str(row.pk),
        "kind": row.kind,
        "severity": row.severity,
        "harm": row.harm,
        "certainty": row.certainty,
        "headline": row.headline,
        "consequence": found.consequence,
        "since": _iso(row.began_at),
        "found": _iso(row.found_at),
        "gone": _iso(row.gone_at),
        "until": _iso(row.ended_at),
        "state": row.state_at(now),
        "acknowledged": {"by": row.acknowledged_by, "at": _iso(row.acknowledged_at)}
        if row.acknowledged_at is not None
        else None,
        "muted": {"by": row.muted_by, "until": _iso(row.muted_until)}
        if row.muted_until is not None and row.muted_until > now
        else None,
        "returns": row.returns,
        "unverified": row.unverified or None,
        "where": msgspec.to_builtins(found.where),
        "also_at": msgspec.to_builtins(found.also_at),
        "affects": {name: getattr(found.affects, name) for name in ("pairs", "pods", "more")},
        "check": msgspec.to_builtins(found.check),
        "fix": msgspec.to_builtins(found.fix),
        "also": list(found.also),
        "flow": None if found.flow is None else flow_json(found.flow),
        "traced": bool(getattr(row, "traced", trace is not None)),
        "trace": trace,
    }


def between_of(row: Problem) -> list[dict[str, Any]]:
    """Which pairs a problem affects, as JSON."""
    return [msgspec.to_builtins(one) for one in _found(row).affects.between]


def places_of(problem: Mapping[str, Any]) -> list[str]:
    """The nodes and the namespaces' keys where a problem, as JSON shows it, has its cause."""
    every = (problem["where"], *problem["also_at"])
    return list(dict.fromkeys(one for where in every for one in (where["node"], where["key"]) if one))


def flow_json(flow: Flow) -> dict[str, Any]:
    """A flow in the words of `POST /api/traces`."""
    icmp = PROTOCOLS.get(flow.proto) == "icmp"
    return {
        "from": str(flow.src_netns),
        "to": format_ip(flow.dst),
        "proto": PROTOCOLS.get(flow.proto, str(flow.proto)),
        "dport": None if icmp else flow.dport,
        "len": flow.length,
        "df": flow.df,
    }


def checking_row() -> Checking | None:
    """How the checking is, with `alive`: whether its leader's lease lasts. None before the first process ever led."""
    alive = ExpressionWrapper(Q(lease_until__gt=Now()), BooleanField())
    return Checking.objects.annotate(alive=alive).filter(pk=ROW).first()


def checking_json(row: Checking | None, now: datetime) -> dict[str, Any]:
    """How the checking is. `state`: "stopped" (no process judges), "failing" (the checks raise), "first" (the first
    run isn't over), "behind" (a run takes long), "current" (what is known is judged); `since` when that began.
    """
    if row is None:
        row = Checking()
    state, since = _state(row, now)
    at = _iso(row.judged_at)
    return {
        "state": state,
        "since": _iso(since),
        "pods": row.pods,
        "pairs": row.pairs,
        "classes": row.classes,
        "expected": row.expected,
        "away": row.away,
        "checks": [{**result, "at": at} for result in row.results],
        "error": row.error or None,
    }


def _state(row: Checking, now: datetime) -> tuple[str, datetime | None]:
    if not getattr(row, "alive", False):
        return "stopped", row.lease_until
    if row.error:
        return "failing", None
    if row.judged_at is None:
        return "first", row.judging_since
    if row.judging_since is not None and now - row.judging_since > BEHIND:
        return "behind", row.judging_since
    return "current", None


def worst_first(problems: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort by harm, then by how many pairs and pods are affected; what people have put aside comes last."""
    return sorted(
        problems,
        key=lambda one: (
            one["state"] != "open",
            _rank(one["harm"]),
            -one["affects"]["pairs"],
            -len(one["affects"]["pods"]) - one["affects"]["more"],
            int(one["id"]),
        ),
    )


def _rank(harm: str) -> int:
    return HARMS.index(harm) if harm in HARMS else len(HARMS)


def _found(row: Problem) -> Found:
    """The check's record; of one that another version wrote, what the columns say."""
    try:
        return row.found
    except msgspec.MsgspecError:
        return Found(
            row.kind,
            "",
            "error" if row.severity == "error" else "warning",
            "not known",
            row.headline,
            "",
            Where(row.node),
        )


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
