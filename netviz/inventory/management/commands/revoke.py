"""`./manage.py revoke NODE`: take the right to speak for a node away; `revoke --watcher`: for a cluster."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from netviz.inventory.management.whom import add_whom
from netviz.inventory.models import Node
from netviz.inventory.service import revoke_node, revoke_watchers
from netviz.schema import bring_up_to_date


class Command(BaseCommand):
    """Revoke all collectors of a node and cut their connections."""

    help = "Revoke every collector of a node"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add NODE, --watcher and --cluster."""
        add_whom(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Revoke and say how many."""
        bring_up_to_date(self.stderr.write)
        if options["watcher"]:
            self.stdout.write(f"{revoke_watchers(options['cluster'])} revoked")
            return
        if not Node.objects.filter(name=options["node"]).exists():
            raise CommandError(f"no node is called {options['node']!r}")
        self.stdout.write(f"{revoke_node(options['node'])} revoked")
