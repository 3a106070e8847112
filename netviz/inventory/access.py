"""Who may do what: roles of people, and how an HTTP request proves its user.

Three roles, each with all that the one before has: a viewer sees, an operator traces, an
administrator manages collectors and people. A role is membership in the group of that name; a
superuser is an administrator.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse

VIEWER, OPERATOR, ADMINISTRATOR = "viewer", "operator", "administrator"
ROLES = (VIEWER, OPERATOR, ADMINISTRATOR)


def role_of(user: Any) -> str | None:
    """Return the highest role of a user, None for someone who may not even see."""
    if not user.is_authenticated or not user.is_active:
        return None
    if user.is_superuser:
        return ADMINISTRATOR
    held = set(user.groups.filter(name__in=ROLES).values_list("name", flat=True))
    return next((role for role in reversed(ROLES) if role in held), None)


def may(user: Any, role: str) -> bool:
    """Tell whether a user has `role` or a higher one."""
    held = role_of(user)
    return held is not None and ROLES.index(held) >= ROLES.index(role)


def require_role(role: str) -> Callable[[Callable[..., HttpResponseBase]], Callable[..., HttpResponseBase]]:
    """Guard a JSON view: 401 without a user, 403 without the role, each with `{"error"}`."""

    def guard(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not request.user.is_authenticated:
                answer = JsonResponse({"error": "log in, or send a valid API token"}, status=401)
                answer["WWW-Authenticate"] = "Bearer"
                return answer
            if not may(request.user, role):
                return JsonResponse({"error": f"this needs the role {role}"}, status=403)
            return view(request, *args, **kwargs)

        return guarded

    return guard
