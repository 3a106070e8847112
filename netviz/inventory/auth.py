"""How requests and sockets prove their user: a session, or an API token.

A browser sends its cookie along with whatever page makes it connect, so a socket with an Origin is
taken only from this server's own pages. A request with a Bearer token needs no such check: no page
of another host can make a browser send it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

from channels.auth import AuthMiddlewareStack
from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponseBase
from django.http.request import split_domain_port, validate_host

from netviz.inventory.access import READ, lacking
from netviz.inventory.address import address_of_socket
from netviz.inventory.audit import of_token
from netviz.inventory.logins import refused_token
from netviz.inventory.models import ApiToken
from netviz.inventory.service import TokenRefused, use_api_token
from netviz.inventory.sockets import Credential, serve_while_valid
from netviz.inventory.tokens import bearer_token


def _takes_tokens(request: HttpRequest) -> bool:
    """Tell whether an address is for programs. Pages, the admin's too, know nothing of API tokens."""
    return request.path_info.startswith("/api/") or request.path_info == "/metrics"


class _TokenRequest(HttpRequest):
    """A request and what its token came to."""

    api_token: ApiToken
    refused_token: TokenRefused
    _dont_enforce_csrf_checks: bool


def _authenticate(request: HttpRequest) -> None:
    text = bearer_token(request.headers.get("Authorization", ""))
    if text is None or not _takes_tokens(request):
        return
    user: Any = AnonymousUser()
    marked = cast(_TokenRequest, request)
    try:
        marked.api_token = use_api_token(text)
        user = marked.api_token.user
    except TokenRefused as err:
        marked.refused_token = err

    async def auser() -> Any:
        return user

    marked.user, marked.auser = user, auser
    marked._dont_enforce_csrf_checks = True


def api_token(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Let `Authorization: Bearer` stand for a login where programs call.

    A wrong token is nobody, even beside a session. `request.api_token` is the token that was used, and
    `request.refused_token` says why one opens nothing.
    """

    def run(request: HttpRequest) -> HttpResponseBase:
        _authenticate(request)
        return get_response(request)

    return run


def same_origin(origin: str, host: str) -> bool:
    """Tell whether a page from `origin` belongs to the server that is called `host`."""
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:  # no address at all
        return False


def _header(scope: dict[str, Any], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


class PeopleSockets:
    """Let a socket through that comes from a page of this server, or with a token, and from a viewer.

    The application finds the user in `scope["user"]`, and is ended when what opened the socket no
    longer lets its user see. All others are refused before the handshake.
    """

    def __init__(self, application: Any) -> None:
        self._application = application
        self._with_session: Any = AuthMiddlewareStack(self._of_session)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Check where the socket comes from and who opens it."""
        host, origin = _header(scope, b"host"), _header(scope, b"origin")
        name = split_domain_port(host)[0]
        if not (name and validate_host(name, settings.ALLOWED_HOSTS)) or (
            origin and not same_origin(origin, host)
        ):
            await _refuse(receive, send)
        elif (text := bearer_token(_header(scope, b"authorization"))) is not None:
            await self._of_token(text, scope, receive, send)
        else:
            await self._with_session(scope, receive, send)

    async def _of_token(self, text: str, scope: dict[str, Any], receive: Any, send: Any) -> None:
        try:
            token = await database_sync_to_async(use_api_token)(text)
        except TokenRefused as err:
            await database_sync_to_async(refused_token)(
                str(err), of_token(err.record, address_of_socket(scope))
            )
            await _refuse(receive, send)
            return
        await self._with_user({**scope, "user": token.user}, receive, send, token)

    async def _of_session(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await self._with_user(scope, receive, send, None)

    async def _with_user(
        self, scope: dict[str, Any], receive: Any, send: Any, token: ApiToken | None
    ) -> None:
        if await database_sync_to_async(lacking)(scope["user"], token, READ) is not None:
            await _refuse(receive, send)
            return
        if token is not None:
            credential = Credential(token_id=token.pk)
        else:
            credential = Credential(session_key=scope["session"].session_key)
        await serve_while_valid(self._application, credential, scope, receive, send)


async def _refuse(receive: Any, send: Any) -> None:
    """Refuse the handshake (the client sees HTTP 403)."""
    await receive()
    await send({"type": "websocket.close"})
