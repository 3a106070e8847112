"""Static files, served by the ASGI application itself.

WhiteNoise finds the file and makes the answer's headers (type, ETag, range); the bytes are read in a
thread, so that a slow disk holds up nobody's socket. Files are looked up at each request: a bundle
that was built anew is served at once, and browsers ask each time whether theirs is still good: but for the icon, which
they ask for whenever the address changes, as for each trace. What has a compressed twin (.gz) is sent as that.
"""

from __future__ import annotations

import asyncio
from typing import Any
from wsgiref.headers import Headers

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from whitenoise import WhiteNoise
from whitenoise.responders import Response

CHUNK_BYTES = 64 << 10
ICON, ICON_S = f"{settings.STATIC_URL}netviz/icon.svg", 86400
# The request headers that the answer depends on, as WSGI names them.
_HEADERS = {
    b"if-none-match": "HTTP_IF_NONE_MATCH",
    b"if-modified-since": "HTTP_IF_MODIFIED_SINCE",
    b"accept-encoding": "HTTP_ACCEPT_ENCODING",
    b"range": "HTTP_RANGE",
}


def _keep_icon(headers: Headers, path: str, url: str) -> None:
    if url == ICON:
        headers["Cache-Control"] = f"max-age={ICON_S}, public"


class StaticFiles:
    """Answer requests below STATIC_URL; hand all others to `application`."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._files = WhiteNoise(
            None, autorefresh=True, max_age=0, allow_all_origins=False, add_headers_function=_keep_icon
        )
        for finder in get_finders():
            # Only finders that look in folders have storages; they are all that this project uses.
            for storage in getattr(finder, "storages", {}).values():
                self._files.add_files(storage.location, settings.STATIC_URL)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        if not scope["path"].startswith(settings.STATIC_URL):
            await self._application(scope, receive, send)
            return
        response = await asyncio.to_thread(self._respond, scope)
        if response is None:
            await self._application(scope, receive, send)
            return
        headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers
        ]
        headers.append((b"x-content-type-options", b"nosniff"))
        await send({"type": "http.response.start", "status": int(response.status), "headers": headers})
        try:
            while response.file and (chunk := await asyncio.to_thread(response.file.read, CHUNK_BYTES)):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        finally:
            if response.file:
                response.file.close()
        await send({"type": "http.response.body", "body": b""})

    def _respond(self, scope: dict[str, Any]) -> Response | None:
        static_file = self._files.find_file(scope["path"])
        if static_file is None:
            return None
        headers = {
            _HEADERS[name]: value.decode("latin-1") for name, value in scope["headers"] if name in _HEADERS
        }
        response: Response = static_file.get_response(scope["method"], headers)
        return response
