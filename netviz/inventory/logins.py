"""Logging in: one page for everybody, the admin's too; throttled, logged, counted, and in the audit."""

from __future__ import annotations

import logging
import secrets
from typing import Any

from django.conf import settings
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.contrib.auth.views import LoginView
from django.core import signing
from django.core.exceptions import ImproperlyConfigured, PermissionDenied, ValidationError
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from prometheus_client import Counter

from netviz.inventory import audit
from netviz.inventory.address import address_of
from netviz.inventory.throttle import charge, login_accounts, succeeded, token_accounts

log = logging.getLogger("netviz.inventory")

LOGINS = Counter("netviz_logins", "Logins that this process saw, by result.", ["result"], registry=None)
TOKENS = Counter(
    "netviz_refused_tokens",
    "Requests with a token that opens nothing, refused by this process.",
    ["result"],
    registry=None,
)
for _result in ("ok", "failed", "throttled"):
    LOGINS.labels(_result)
for _result in ("failed", "throttled"):
    TOKENS.labels(_result)

COOKIE = "netviz_known"
COOKIE_AGE_S = 400 * 86400
COOKIE_NAMES = 4


def _known(request: HttpRequest) -> dict[str, str]:
    """Read which names have logged in with this browser, each with the browser's number for it."""
    try:
        found: dict[str, str] = signing.loads(
            request.COOKIES.get(COOKIE, ""), salt=COOKIE, max_age=COOKIE_AGE_S
        )
    except signing.BadSignature:
        return {}
    return found


class LoginForm(AuthenticationForm):
    """Name and password; an attempt that has to wait isn't looked at."""

    wait_s = 0

    def clean(self) -> dict[str, Any]:
        """Charge the attempt, then check the password."""
        name, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if not name or not password:
            return self.cleaned_data
        if self.request is None:
            raise ImproperlyConfigured("this form checks attempts by their request")
        address = address_of(self.request)
        accounts = login_accounts(name, address, _known(self.request).get(name.casefold(), ""))
        self.wait_s = charge(accounts)
        if self.wait_s:
            LOGINS.labels("throttled").inc()
            log.warning("a login as %r from %s has to wait %d s", name, address or "?", self.wait_s)
            raise ValidationError(f"Too many wrong passwords. Try again in {_span(self.wait_s)}.")
        values: dict[str, Any] = super().clean()
        succeeded(accounts)
        return values


def _span(seconds: int) -> str:
    return f"{seconds} s" if seconds < 100 else f"{-(-seconds // 60)} minutes"


class Login(LoginView):
    """The login page."""

    authentication_form = LoginForm
    template_name = "login.html"
    redirect_authenticated_user = True

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        """Show the form again: 429 with Retry-After when it has to wait."""
        answer = super().form_invalid(form)
        if isinstance(form, LoginForm) and form.wait_s:
            answer.status_code = 429
            answer["Retry-After"] = str(form.wait_s)
        return answer

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Log in, and let the browser know that it has."""
        answer = super().form_valid(form)
        name = form.cleaned_data["username"].casefold()
        known = _known(self.request)
        number = known.pop(name, "") or secrets.token_urlsafe(12)
        kept = {name: number, **dict(list(known.items())[: COOKIE_NAMES - 1])}
        answer.set_cookie(
            COOKIE,
            signing.dumps(kept, salt=COOKIE),
            max_age=COOKIE_AGE_S,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
        return answer


def admin_login(request: HttpRequest, extra_context: Any = None) -> HttpResponseBase:
    """Show the same login page to who comes to the admin without a login, and refuse who has no right to it."""
    if request.user.is_authenticated and not request.user.is_staff:
        raise PermissionDenied
    return Login.as_view(next_page="admin:index")(request)


def refused_token(reason: str, origin: audit.Origin, what: str = "an API token") -> int:
    """Log, count and record a refused token; return 0, or how many seconds its sender has to wait.

    Only refused tokens wait: there is nothing to guess in a token, and a right one from the same address
    is somebody else's.
    """
    try:
        wait_s = charge(token_accounts(origin.address))
        if not wait_s:
            audit.record("token.refused", origin=origin, reason=reason)
    except DatabaseError as err:  # a full disk: what can be read is still answered
        log.warning("cannot count a refused token: %s", err)
        wait_s = 0
    TOKENS.labels("throttled" if wait_s else "failed").inc()
    if not wait_s:
        log.warning("refused %s from %s: %s", what, origin.address or "?", reason)
    return wait_s


def _logged_in(sender: Any, request: HttpRequest, user: Any, **kwargs: Any) -> None:
    LOGINS.labels("ok").inc()
    audit.record("login.ok", user.get_username())


def _logged_out(sender: Any, request: HttpRequest, user: Any, **kwargs: Any) -> None:
    if user is not None:
        audit.record("login.end", user.get_username(), actor=user.get_username())


def _failed(
    sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
) -> None:
    name = str(credentials.get("username", ""))
    address = "" if request is None else address_of(request)
    LOGINS.labels("failed").inc()
    log.warning("wrong name or password: %r from %s", name, address or "?")
    audit.record("login.failed", name)


def connect() -> None:
    """Listen to Django's logins, once."""
    user_logged_in.connect(_logged_in, dispatch_uid="netviz.logged_in")
    user_logged_out.connect(_logged_out, dispatch_uid="netviz.logged_out")
    user_login_failed.connect(_failed, dispatch_uid="netviz.login_failed")
