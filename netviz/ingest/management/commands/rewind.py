"""`./manage.py rewind NODE --out FILE.nvz`: a node's state at an earlier time, as a file to trace on."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from netviz.core.wire.nvz import dump_nvz
from netviz.ingest.history import BadTime, NoHistory, parse_time, state_at
from netviz.ingest.journal_bodies import bodies_of
from netviz.schema import bring_up_to_date


class Command(BaseCommand):
    """Fold the journal into a state file."""

    help = "Write a node's state at an earlier time, from the journal, as an .nvz file"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add NODE, --at and --out."""
        parser.add_argument("node", metavar="NODE")
        parser.add_argument(
            "--at", metavar="TIME", help="ISO 8601, UTC unless it says otherwise; now without"
        )
        parser.add_argument("--out", metavar="FILE", required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        """Fold and write."""
        bring_up_to_date(self.stderr.write)
        try:
            at = parse_time(options["at"]) if options["at"] else timezone.now()
            state = state_at(options["node"], at)
        except (BadTime, NoHistory) as err:
            raise CommandError(str(err)) from None
        try:
            Path(options["out"]).write_bytes(dump_nvz(state, bodies_of(state), at.timestamp()))
        except OSError as err:
            raise CommandError(f"cannot write {options['out']}: {err.strerror}") from None
        self.stdout.write(
            f"{options['out']}: {state.node} at {at:%Y-%m-%d %H:%M:%S} UTC, {len(state.netns)} namespaces"
        )
