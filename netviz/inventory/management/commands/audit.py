"""`./manage.py audit`: who did what, when, from where, newest first."""

from __future__ import annotations

import json
import re
from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from netviz.core.plain import plain
from netviz.inventory.models import AuditEntry
from netviz.schema import bring_up_to_date

UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days"}


def parse_since(text: str) -> datetime:
    """Read a moment, or how long ago it was. Raises: CommandError."""
    try:
        if match := re.fullmatch(r"(\d{1,6})(s|min|h|d)", text):
            return timezone.now() - timedelta(**{UNITS[match[2]]: int(match[1])})
        moment = parse_datetime(text)
        if moment is None and (day := parse_date(text)) is not None:
            moment = datetime(day.year, day.month, day.day)
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise CommandError(f"--since {text!r}: write 2026-01-31, 2026-01-31T08:00, or 90min, 12h, 7d")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Command(BaseCommand):
    """Print the audit."""

    help = "Print who did what, when, from where, newest first (times in UTC)"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --since, --action, --actor and --json."""
        parser.add_argument(
            "--since", metavar="WHEN", help="a date, a time (UTC), or how long ago: 90min, 12h, 7d"
        )
        parser.add_argument(
            "--action",
            metavar="WORD",
            help="this action (collector.revoke), or all of one object (collector)",
        )
        parser.add_argument("--actor", metavar="NAME", help="what this user did")
        parser.add_argument("--json", action="store_true", help="one JSON object a line, with all details")

    def handle(self, *args: Any, **options: Any) -> None:
        """Select and print."""
        since = options["since"] and parse_since(options["since"])
        bring_up_to_date(self.stderr.write)
        entries = AuditEntry.objects.all()
        if since:
            entries = entries.filter(at__gte=since)
        if action := options["action"]:
            entries = (
                entries.filter(action=action)
                if "." in action
                else entries.filter(action__startswith=f"{action}.")
            )
        if options["actor"] is not None:
            entries = entries.filter(actor=options["actor"])
        for entry in entries.iterator(chunk_size=2000):
            self.stdout.write(json.dumps(entry.as_json()) if options["json"] else plain(self._line(entry)))

    @staticmethod
    def _line(entry: AuditEntry) -> str:
        by = f"{entry.actor or '-'} ({entry.get_via_display()}{entry.address and f' from {entry.address}'})"
        return f"{entry.at:%Y-%m-%d %H:%M:%S}  {entry.action:<18}  {entry.target or '-'}  by {by}"
