"""The audit: who did what, when, from where. Only ever added to.

    record("collector.approve", "node-1")

Who and where is known from the request that is being answered (the middleware `of_request`); without
one it is a command, and the user of the operating system. Names are kept as text, so that an entry
outlives what it is about. Entries can't be changed or deleted: not in the admin, not by the ORM, and,
by triggers, not by SQL either.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest, HttpResponseBase

from netviz.inventory.address import address_of
from netviz.inventory.models import ApiToken, AuditEntry

Via = AuditEntry.Via


@dataclass(frozen=True)
class Origin:
    """Who acts, by which way in, from which address."""

    actor: str
    via: str
    address: str
    detail: dict[str, Any] = field(default_factory=dict)


_request: ContextVar[HttpRequest | None] = ContextVar("netviz_audit_request", default=None)


def record(
    action: str, target: object = "", *, actor: str | None = None, origin: Origin | None = None, **detail: Any
) -> AuditEntry:
    """Add an entry: `action` as `object.verb`, `target` by its name, `detail` as JSON can say it.

    `actor` and `origin` are given only where they aren't those of the request or command.
    """
    origin = origin or current_origin()
    return AuditEntry.objects.create(
        action=action,
        actor=_cut("actor", origin.actor if actor is None else actor),
        via=origin.via,
        address=origin.address,
        target=_cut("target", str(target)),
        detail={**origin.detail, **detail},
    )


def _cut(column: str, text: str) -> str:
    """Keep what fits. PostgreSQL takes no NUL."""
    length: int | None = getattr(AuditEntry._meta.get_field(column), "max_length", None)
    return text.replace("\0", "\N{SYMBOL FOR NULL}")[:length]


def current_origin() -> Origin:
    """Say who is acting."""
    request = _request.get()
    return _of_command() if request is None else _of_request(request)


def _of_request(request: HttpRequest) -> Origin:
    token = getattr(request, "api_token", None)
    if token is not None:
        return of_token(token, address_of(request))
    name = request.user.get_username() if request.user.is_authenticated else ""
    return Origin(name, Via.PAGE, address_of(request))


def of_token(token: ApiToken | None, address: str) -> Origin:
    """Say who acts by an API token; None is one that nobody knows."""
    if token is None:
        return Origin("", Via.API, address)
    return Origin(token.user.get_username(), Via.API, address, {"token": token.token_hint})


def _of_command() -> Origin:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    if by := os.environ.get("SUDO_USER"):
        user = f"{by} as {user}"
    return Origin(user, Via.COMMAND, os.environ.get("SSH_CONNECTION", "").partition(" ")[0])


def of_request(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """While a request is answered, what is recorded is by its user."""

    def run(request: HttpRequest) -> HttpResponseBase:
        held = _request.set(request)
        try:
            return get_response(request)
        finally:
            _request.reset(held)

    return run
