"""Django's handler, answering each request in one thread from the first middleware to the last.

All of netviz's views are synchronous. Django's own ASGI handler runs what it can of the middleware in the event loop, and hands
over to the request's thread and back for each of the others: 14 times for a trace that is asked for, and each time both sides wait
until the interpreter lets them run.
"""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponseBase


class Handler(ASGIHandler):
    """The whole chain of middleware and views, run as one synchronous call in the request's thread."""

    def load_middleware(self, is_async: bool = False) -> None:
        """Load the chain for synchronous calls, whatever the caller speaks."""
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """Answer one request."""
        answer: Any = sync_to_async(self.get_response)
        response: HttpResponseBase = await answer(request)
        return response
