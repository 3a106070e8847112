"""Close what a request opened in the database, however the request ends.

Each request has a thread of its own, and Django closes that thread's connection when it announces the
request's end. It does not announce the end of a request that breaks off: whose client says what it
may not, or that is cancelled when the server ends. The connection would stay open until the garbage
collector comes upon it, which PostgreSQL pays for with a process.
"""

from __future__ import annotations

from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connections


class ClosesDatabase:
    """Run `application` in a thread of its own for each request, and close that thread's connections."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        async with ThreadSensitiveContext():
            try:
                await self._application(scope, receive, send)
            finally:
                await sync_to_async(connections.close_all)()
