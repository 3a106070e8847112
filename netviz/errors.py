"""Errors that no view answers for: JSON below /api/, a page for people elsewhere."""

from __future__ import annotations

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from netviz.inventory.answers import refuse

API = ("/api/", "/healthz", "/metrics")


def _answer(request: HttpRequest, status: int, sentence: str) -> HttpResponse:
    if request.path.startswith(API):
        return refuse(status, sentence)
    return render(None, "error.html", {"sentence": sentence}, status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400; the usual cause on a new server is a name that it doesn't know to be its own."""
    if isinstance(exception, DisallowedHost):
        return _answer(
            request,
            400,
            "this server doesn't answer to the name in the address; "
            "whoever runs it can add that name to NETVIZ_ALLOWED_HOSTS",
        )
    return _answer(request, 400, "the request cannot be read")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404."""
    return _answer(request, 404, "there is nothing at this address")


def denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403."""
    return _answer(request, 403, "you may not do this")


def server_error(request: HttpRequest) -> HttpResponse:
    """500."""
    return _answer(request, 500, "the server failed; its log has the details")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403: a request with a session that doesn't prove that it comes from one of this server's pages."""
    return _answer(request, 403, "the request lacks its CSRF token; load the page again, or use an API token")
