"""WebSocket paths: Django's routes, which lead to ASGI applications here.

Both sides' annotations know less than they do: Django's of views only, Channels' of routes of their own.
"""

from __future__ import annotations

from typing import Any

from django.urls import path, re_path


def socket_path(route: str, application: Any) -> Any:
    """Lead a path, written as Django's, to an application."""
    return path(route, application)


def every_other_path(application: Any) -> Any:
    """Lead whatever no path before matched to an application."""
    return re_path(r"", application)
