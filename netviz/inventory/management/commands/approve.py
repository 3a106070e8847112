"""`./manage.py approve NODE`: let the collectors of a node that wait connect; `approve --watcher`: those of a cluster."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from netviz.inventory.management.whom import add_whom
from netviz.inventory.models import Collector
from netviz.inventory.service import approve_collector
from netviz.schema import bring_up_to_date


class Command(BaseCommand):
    """Approve the collectors that wait; those that were revoked stay so."""

    help = "Approve the collectors of a node that wait for it"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add NODE, --watcher and --cluster."""
        add_whom(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Approve and say how many."""
        bring_up_to_date(self.stderr.write)
        whom = (
            {"cluster__name": options["cluster"]} if options["watcher"] else {"node__name": options["node"]}
        )
        waiting = Collector.objects.filter(status=Collector.Status.ENROLLED, **whom)
        done = sum(approve_collector(collector) for collector in waiting)
        if not done:
            raise CommandError("no such collector waits for approval")
        self.stdout.write(f"{done} approved")
