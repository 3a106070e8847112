"""`./manage.py enrol NODE`: make a collector's token."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from netviz.inventory.models import valid_node_name
from netviz.inventory.service import DEFAULT_CLUSTER, enrol
from netviz.private import secret_output
from netviz.schema import bring_up_to_date


class Command(BaseCommand):
    """Print a new token for a node's collector; it is not shown again."""

    help = "Enrol a collector for a node and print its token, once"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add NODE, --cluster, --approve and --out."""
        parser.add_argument("node", metavar="NODE", help="the node's name, as its collector is told")
        parser.add_argument(
            "--cluster", default=DEFAULT_CLUSTER, help="cluster of a new node (default: %(default)s)"
        )
        parser.add_argument("--approve", action="store_true", help="approve it at once")
        parser.add_argument(
            "--out", metavar="FILE", help="write the token to this file, which only you can read"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Enrol and print."""
        try:
            valid_node_name(options["node"])
        except ValidationError as err:
            raise CommandError(err.message) from None
        bring_up_to_date(self.stderr.write)
        try:
            with secret_output(options["out"], self.stdout.write) as write:
                write(enrol(options["node"], cluster_name=options["cluster"], approve=options["approve"])[1])
        except OSError as err:
            raise CommandError(f"cannot write the token: {err}") from None
        if not options["approve"]:
            self.stderr.write("It waits for approval in the admin pages.")
