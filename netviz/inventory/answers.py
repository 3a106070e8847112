"""What every JSON view answers alike: refusals as `{"error": one sentence}`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse

from netviz.core.model.ids import NetnsKey


def refuse(status: int, sentence: str, **headers: str) -> JsonResponse:
    """Make a refusal; `headers` with underscores for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JsonResponse({"error": sentence}, status=status, headers=named)


def methods(*allowed: str) -> Callable[[Callable[..., HttpResponseBase]], Callable[..., HttpResponseBase]]:
    """Take only these methods; HEAD goes with GET."""

    def guard(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if ("GET" if request.method == "HEAD" else request.method) not in allowed:
                return refuse(405, f"this address takes {' or '.join(allowed)}", Allow=", ".join(allowed))
            return view(request, *args, **kwargs)

        return guarded

    return guard


def of_namespace(
    view: Callable[[HttpRequest, NetnsKey], HttpResponseBase],
) -> Callable[[HttpRequest, str], HttpResponseBase]:
    """Give a view the namespace that its address names; 400 where that is no namespace's key."""

    @wraps(view)
    def parsed(request: HttpRequest, key: str) -> HttpResponseBase:
        try:
            wanted = NetnsKey.parse(key)
        except ValueError:
            return refuse(400, "a namespace's key is node:dev:ino:generation")
        return view(request, wanted)

    return parsed


async def refuse_socket(
    scope: Mapping[str, Any],
    send: Callable[[dict[str, Any]], Awaitable[None]],
    status: int,
    text: str,
    **headers: str,
) -> None:
    """Refuse a WebSocket's handshake as `refuse` does a request, in plain text, where the server can send it."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close"})
        return
    named = {"content-type": "text/plain; charset=utf-8", **headers}
    raw = [(name.lower().replace("_", "-").encode(), value.encode()) for name, value in named.items()]
    await send({"type": "websocket.http.response.start", "status": status, "headers": raw})
    await send({"type": "websocket.http.response.body", "body": text.encode()})
