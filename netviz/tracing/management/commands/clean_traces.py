"""`./manage.py clean_traces`: what the server does by itself now and then, at once."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from netviz.tracing.service import KEEP_FOR, KEEP_RUNS, sweep


class Command(BaseCommand):
    """End the traces that hang and delete the old ones."""

    help = f"End traces that hang; delete those older than {KEEP_FOR.days} days and all but the newest {KEEP_RUNS}"

    def handle(self, *args: Any, **options: Any) -> None:
        """Sweep and say what was done."""
        ended, deleted = sweep()
        self.stdout.write(f"{ended} hanging traces ended, {deleted} old ones deleted")
