"""The demo's faults: what can be broken, what is, break and mend. A server that has no lab has no such address."""

from __future__ import annotations

import json

from django.http import HttpRequest, HttpResponseBase, JsonResponse

from netviz.demo import desk
from netviz.inventory.access import OBSERVE, READ, require_scope
from netviz.inventory.answers import methods, refuse


@methods("GET", "POST")
def faults(request: HttpRequest) -> HttpResponseBase:
    """List the faults, or make or mend one."""
    return change(request) if request.method == "POST" else listing(request)


@require_scope(READ)
def listing(request: HttpRequest) -> HttpResponseBase:
    """Answer with what can be broken in the lab, and what is."""
    return _said("list")


@require_scope(OBSERVE)
def change(request: HttpRequest) -> HttpResponseBase:
    """Do {"break": NAME} or {"mend": ID or "all"}, and answer with how it is then."""
    try:
        ((wish, name),) = json.loads(request.body).items()
    except (ValueError, AttributeError):
        wish, name = "", None
    if wish not in ("break", "mend") or not isinstance(name, str):
        return refuse(400, 'send {"break": NAME} or {"mend": ID}')
    return _said(wish, name=name)


def _said(op: str, **args: str) -> HttpResponseBase:
    try:
        return JsonResponse(desk.call(op, **args))
    except desk.Refused as err:
        return refuse(409, str(err))
    except desk.LabGone as err:
        return refuse(503, str(err))
