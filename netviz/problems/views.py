"""The problems' JSON interface."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils import timezone

from netviz.ingest.models import JournalEntry
from netviz.inventory.access import READ, TRIAGE, require_scope
from netviz.inventory.answers import methods, refuse
from netviz.problems import service
from netviz.problems.models import Problem
from netviz.problems.shown import (
    VERSION,
    between_of,
    checking_json,
    checking_row,
    current,
    list_of,
    problem_json,
    worst_first,
)

STATES = ("open", "acknowledged", "muted", "resolved")
MAX_LIST = 1000
NEWEST = 200
SHORTLY = timedelta(seconds=1.5)


@methods("GET")
@require_scope(READ)
def problems(request: HttpRequest) -> HttpResponseBase:
    """Answer with what is wrong now, the worst first; cut to ?state=, ?node= and ?kind=; ?state=resolved: what was."""
    state, limit = request.GET.get("state", ""), request.GET.get("limit", "")
    if state and state not in STATES:
        return refuse(400, f"state is one of {', '.join(STATES)}")
    if limit and not (limit.isdecimal() and 1 <= int(limit) <= MAX_LIST):
        return refuse(400, f"limit is a number from 1 to {MAX_LIST}")
    resolved = state == "resolved"
    rows = list_of(Problem.objects.exclude(ended_at=None)).order_by("-ended_at") if resolved else current()
    if node := request.GET.get("node"):
        rows = rows.filter(node=node)
    if kind := request.GET.get("kind"):
        rows = rows.filter(kind=kind)
    if resolved:
        rows = rows[: int(limit or NEWEST)]
    now = timezone.now()
    found = [problem_json(row, now) for row in rows]
    if not resolved:
        found = worst_first(one for one in found if state in ("", one["state"]))
    checked = checking_json(checking_row(), now)
    body: dict[str, Any] = {
        "version": VERSION,
        "checked": checked,
        "problems": found[: int(limit) if limit else None],
    }
    return JsonResponse(body)


@methods("GET", "POST")
def problem(request: HttpRequest, problem_id: str) -> HttpResponseBase:
    """Answer with one problem, its trace and what happened to it; or do something with it."""
    return act(request, problem_id) if request.method == "POST" else one(request, problem_id)


@require_scope(READ)
def one(request: HttpRequest, problem_id: str) -> HttpResponseBase:
    """Answer with one problem, its trace and its remarks."""
    row = find(problem_id)
    return refuse(404, f"there is no problem {problem_id}") if row is None else JsonResponse(whole(row))


@require_scope(TRIAGE)
def act(request: HttpRequest, problem_id: str) -> HttpResponseBase:
    """Acknowledge, mute or comment; answers with the problem as it is then."""
    row = find(problem_id)
    if row is None:
        return refuse(404, f"there is no problem {problem_id}")
    try:
        service.act(row, service.parse_action(request.body), request.user)
    except service.BadAction as err:
        return refuse(400, str(err))
    return JsonResponse(whole(Problem.objects.get(pk=row.pk)))


def whole(row: Problem) -> dict[str, Any]:
    """A problem with its trace, its remarks, which pairs it affects, and how many it did from when on."""
    remarks = [remark.as_json() for remark in row.remarks.all()]
    curve = [
        {"at": datetime.fromtimestamp(at_s, UTC).isoformat(), "pairs": pairs} for at_s, pairs in row.curve
    ]
    more = {"remarks": remarks, "between": between_of(row), "curve": curve, "began_with": began_with(row)}
    return {**problem_json(row, timezone.now(), row.trace), **more}


def began_with(row: Problem) -> str | None:
    """What changed at the problem's node when it began, as the journal has it in a few words; None where nothing did."""
    if row.began_at is None or not row.node:
        return None
    shortly = (row.began_at - SHORTLY, row.began_at)
    changes = JournalEntry.objects.filter(
        node=row.node, kind=JournalEntry.Kind.DELTA, received_at__range=shortly
    )
    return changes.order_by("-received_at").values_list("summary", flat=True).first()


def find(problem_id: str) -> Problem | None:
    """Find a problem by the id of its address."""
    if not problem_id.isascii() or not problem_id.isdecimal() or len(problem_id) > 18:
        return None
    return Problem.objects.filter(pk=int(problem_id)).first()
