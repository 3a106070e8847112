"""Errors that no view answers for: JSON below /api/, a page for people elsewhere."""

from __future__ import annotations

import sys

from django.conf import settings
from django.core.exceptions import DisallowedHost, RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from netviz.headers import add_headers
from netviz.inventory.answers import refuse
from netviz.parts import RETRY_AFTER_S, part_of

API = ("/api/", "/healthz", "/metrics")


def _answer(path: str, status: int, sentence: str) -> HttpResponse:
    if path.startswith(API):
        return refuse(status, sentence)
    return render(None, "error.html", {"sentence": sentence}, status=status)


def away_sentence(part: str) -> str:
    """Say that a part of the server cannot be used for now."""
    return f"{part} is away or busy; try again in {RETRY_AFTER_S} s (/healthz says how the server is)"


def away_answer(path: str, part: str) -> HttpResponse:
    """503: nothing is wrong with the request."""
    answer = _answer(path, 503, away_sentence(part))
    answer["Retry-After"] = str(RETRY_AFTER_S)
    return add_headers(answer)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400, or 413; the usual cause on a new server is a name that it doesn't know to be its own."""
    if isinstance(exception, DisallowedHost):
        return _answer(
            request.path,
            400,
            "this server doesn't answer to the name in the address; "
            "whoever runs it can add that name to NETVIZ_ALLOWED_HOSTS",
        )
    if isinstance(exception, RequestDataTooBig):
        most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE / (1 << 20)
        return _answer(request.path, 413, f"the request is over {most:g} MiB")
    return _answer(request.path, 400, "the request cannot be read")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404."""
    return _answer(request.path, 404, "there is nothing at this address")


def denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403."""
    return _answer(request.path, 403, "you may not do this")


def server_error(request: HttpRequest) -> HttpResponse:
    """503 when the request met a part that is away, 500 otherwise."""
    if (part := part_of(sys.exc_info()[1])) is not None:
        return away_answer(request.path, part)
    return _answer(request.path, 500, "the server failed; its log has the details")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403: a request with a session that doesn't prove that it comes from one of this server's pages."""
    return _answer(
        request.path, 403, "the request lacks its CSRF token; load the page again, or use an API token"
    )
