"""How requests and sockets prove their user: a session, or an API token.

A browser sends its cookie along with whatever page makes it connect, so a socket with an Origin is
taken only from this server's own pages. A request with a Bearer token needs no such check: no page
of another host can make a browser send it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from asgiref.sync import iscoroutinefunction, sync_to_async
from channels.auth import AuthMiddlewareStack
from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponseBase
from django.http.request import validate_host
from django.utils.decorators import sync_and_async_middleware

from netviz.inventory.access import VIEWER, may
from netviz.inventory.service import user_of_api_token
from netviz.inventory.tokens import bearer_token


def _authenticate(request: HttpRequest) -> None:
    header = request.headers.get("Authorization", "")
    token = bearer_token(header)
    if token is not None:
        user = user_of_api_token(token) or AnonymousUser()

        async def auser() -> Any:
            return user

        request.user, request.auser = user, auser
        request._dont_enforce_csrf_checks = True


@sync_and_async_middleware
def api_token(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Let `Authorization: Bearer` stand for a login. A wrong token is nobody, even beside a session."""
    if iscoroutinefunction(get_response):

        async def run_async(request: HttpRequest) -> HttpResponseBase:
            await sync_to_async(_authenticate)(request)
            response: HttpResponseBase = await get_response(request)
            return response

        return run_async

    def run(request: HttpRequest) -> HttpResponseBase:
        _authenticate(request)
        response: HttpResponseBase = get_response(request)
        return response

    return run


def same_origin(origin: str, host: str) -> bool:
    """Tell whether a page from `origin` belongs to the server that is called `host`."""
    return urlsplit(origin).netloc.lower() == host.lower()


def _header(scope: dict[str, Any], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


class PeopleSockets:
    """Let a socket through that comes from a page of this server, or with a token, and from a viewer.

    The application finds the user in `scope["user"]`, and in `scope["user_now"]` a call that asks the
    database whom the token or session that opened the socket stands for by now. All others are
    refused before the handshake.
    """

    def __init__(self, application: Any) -> None:
        self._application = application
        self._with_session = AuthMiddlewareStack(self._of_session)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Check where the socket comes from and who opens it."""
        host, origin = _header(scope, b"host"), _header(scope, b"origin")
        if not validate_host(urlsplit(f"//{host}").hostname or "", _host_names()) or (
            origin and not same_origin(origin, host)
        ):
            await _refuse(receive, send)
        elif (token := bearer_token(_header(scope, b"authorization"))) is not None:
            user = await database_sync_to_async(user_of_api_token)(token) or AnonymousUser()
            user_now = partial(user_of_api_token, token)
            await self._with_user({**scope, "user": user, "user_now": user_now}, receive, send)
        else:
            await self._with_session(scope, receive, send)

    async def _of_session(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        user_now = partial(_user_of_session, scope["session"].session_key)
        await self._with_user({**scope, "user_now": user_now}, receive, send)

    async def _with_user(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if await database_sync_to_async(may)(scope["user"], VIEWER):
            await self._application(scope, receive, send)
        else:
            await _refuse(receive, send)


def _user_of_session(session_key: str | None) -> Any:
    """Find who is logged in with a session: nobody after a logout or a change of the password."""
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    return get_user(request)


def _host_names() -> list[str]:
    return [host.strip("[]") for host in settings.ALLOWED_HOSTS]


async def _refuse(receive: Any, send: Any) -> None:
    """Refuse the handshake (the client sees HTTP 403)."""
    await receive()
    await send({"type": "websocket.close"})
