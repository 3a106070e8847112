"""Who waits for an administrator: as a number in the admin pages' head, and for the map's."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse

from netviz.inventory.access import ADMINISTER, ADMINISTRATOR, may, require_scope
from netviz.inventory.answers import methods
from netviz.inventory.service import waiting_collectors


def waiting(request: HttpRequest) -> dict[str, Any]:
    """Let the admin pages' templates say how many wait: `waiting_collectors`, counted when it is used."""
    user = getattr(request, "user", None)
    return {"waiting_collectors": lambda: waiting_collectors() if user and may(user, ADMINISTRATOR) else 0}


@methods("GET")
@require_scope(ADMINISTER)
def waiting_view(request: HttpRequest) -> HttpResponseBase:
    """Answer with how many collectors wait for approval."""
    return JsonResponse({"waiting": waiting_collectors()})
