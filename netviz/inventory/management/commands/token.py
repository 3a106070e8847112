"""`./manage.py token make|list|revoke`: people's tokens for the HTTP API."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from netviz.core.plain import plain
from netviz.inventory.access import SCOPES
from netviz.inventory.models import ApiToken
from netviz.inventory.service import make_api_token, revoke_api_token
from netviz.private import secret_output
from netviz.schema import bring_up_to_date


class Command(BaseCommand):
    """Make, list and revoke API tokens."""

    help = "Make an API token and print it, once; list API tokens; revoke one"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add make, list and revoke."""
        commands = parser.add_subparsers(dest="what", required=True)
        make = commands.add_parser("make", help="print a new token")
        make.add_argument("user", metavar="USER", help="whose it is: it never may more than they")
        make.add_argument("name", metavar="NAME", help="what it is used for")
        make.add_argument(
            "--scope", action="append", choices=list(SCOPES), help="what it may do; repeat for more (read)"
        )
        make.add_argument("--days", type=float, metavar="N", help="it ends after N days; never without")
        make.add_argument("--out", metavar="FILE", help="write it to this file, which only you can read")
        commands.add_parser("list", help="all tokens: number, beginning, user, name, scopes, end")
        revoke = commands.add_parser("revoke", help="make one worthless, and cut its open sockets")
        revoke.add_argument("number", type=int, metavar="NUMBER", help="as `token list` shows it")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do the one that was asked for."""
        bring_up_to_date(self.stderr.write)
        {"make": self._make, "list": self._list, "revoke": self._revoke}[options["what"]](options)

    def _make(self, options: dict[str, Any]) -> None:
        user = get_user_model().objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"no user is called {options['user']!r}")
        days = options["days"]
        if days is not None and not 0 < days < 36_525:
            raise CommandError("--days is a number above 0 and below 36525")
        ends = None if days is None else timezone.now() + timedelta(days=days)
        scopes = options["scope"] or ["read"]
        try:
            with secret_output(options["out"], self.stdout.write) as write:
                write(make_api_token(user, options["name"], scopes=scopes, expires_at=ends)[1])
        except ValueError as err:
            raise CommandError(str(err)) from None
        except OSError as err:
            raise CommandError(f"cannot write the token: {err}") from None

    def _list(self, options: dict[str, Any]) -> None:
        for token in ApiToken.objects.select_related("user"):
            ends = "never" if token.expires_at is None else f"{token.expires_at:%Y-%m-%d %H:%M}"
            state = token.problem(timezone.now()) or f"ends {ends}"
            scopes = ",".join(token.scopes)
            line = f"{token.pk}  {token.token_hint}…  {token.user}  {token.name}  {scopes}  {state}"
            self.stdout.write(plain(line))

    def _revoke(self, options: dict[str, Any]) -> None:
        token = ApiToken.objects.filter(pk=options["number"]).first()
        if token is None:
            raise CommandError(f"there is no token {options['number']}; `token list` shows them")
        self.stdout.write("revoked" if revoke_api_token(token) else "it was revoked before")
