"""Who may do what: roles of people, scopes of their API tokens, and the guard of JSON views.

Three roles, each with all that the one before has: a viewer sees, an operator traces, observes and decides about
problems (acknowledges, mutes, comments), an administrator manages collectors and people. A role is membership in the
group of that name; a superuser is an administrator.

What a call does is a scope, and each scope needs a role. A person has every scope of their role; an API
token has a set of its own, of which it may use at any moment those that its user's role has then.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponseBase

from netviz.inventory.address import address_of
from netviz.inventory.answers import refuse
from netviz.inventory.audit import of_token
from netviz.inventory.logins import refused_token

VIEWER, OPERATOR, ADMINISTRATOR = "viewer", "operator", "administrator"
ROLES = (VIEWER, OPERATOR, ADMINISTRATOR)
READ, TRACE, OBSERVE, TRIAGE, ADMINISTER = "read", "trace", "observe", "triage", "administer"
# The role that each scope needs.
SCOPES = {READ: VIEWER, TRACE: OPERATOR, OBSERVE: OPERATOR, TRIAGE: OPERATOR, ADMINISTER: ADMINISTRATOR}


def role_of(user: Any) -> str | None:
    """Return the highest role of a user, None for someone who may not even see."""
    if not user.is_authenticated or not user.is_active:
        return None
    if user.is_superuser:
        return ADMINISTRATOR
    held = {group.name for group in user.groups.all()}
    return next((role for role in reversed(ROLES) if role in held), None)


def may(user: Any, role: str) -> bool:
    """Tell whether a user has `role` or a higher one."""
    held = role_of(user)
    return held is not None and ROLES.index(held) >= ROLES.index(role)


def scopes_of(user: Any) -> list[str]:
    """Return the scopes that a user's role has."""
    return [scope for scope, role in SCOPES.items() if may(user, role)]


def lacking(user: Any, token: Any | None, scope: str) -> str | None:
    """Say in one sentence what a user, by a token if there is one, lacks for `scope`; None: nothing."""
    if not may(user, SCOPES[scope]):
        return f"this needs the role {SCOPES[scope]}"
    if token is not None and scope not in token.scopes:
        return f"this token lacks the scope {scope}"
    return None


def require_scope(scope: str) -> Callable[[Callable[..., HttpResponseBase]], Callable[..., HttpResponseBase]]:
    """Guard a JSON view: 401 without a user, 403 without the scope, each with `{"error"}`."""

    def guard(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if (problem := getattr(request, "refused_token", None)) is not None:
                origin = of_token(problem.record, address_of(request))
                if wait_s := refused_token(str(problem), origin):
                    return refuse(429, f"{problem}; wait {wait_s} s", Retry_After=str(wait_s))
                return refuse(401, str(problem), WWW_Authenticate="Bearer")
            if not request.user.is_authenticated:
                return refuse(401, "log in, or send a valid API token", WWW_Authenticate="Bearer")
            missing = lacking(request.user, getattr(request, "api_token", None), scope)
            if missing is not None:
                return refuse(403, missing)
            return view(request, *args, **kwargs)

        return guarded

    return guard
