"""`./manage.py clean_traces`: what the server does by itself now and then, at once."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from netviz.schema import bring_up_to_date
from netviz.tracing.tending import KEEP_FOR, KEEP_RUNS, delete_old, tend


class Command(BaseCommand):
    """End the traces that hang and delete the old ones."""

    help = f"End traces that hang; delete those older than {KEEP_FOR.days} days and all but the newest {KEEP_RUNS}"

    def handle(self, *args: Any, **options: Any) -> None:
        """Tend the traces, and say what was done."""
        bring_up_to_date(self.stderr.write)
        self.stdout.write(f"{tend()} hanging traces ended, {delete_old()} old ones deleted")
