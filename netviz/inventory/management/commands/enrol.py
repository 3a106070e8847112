"""`./manage.py enrol NODE`: make a collector's token; `enrol --watcher`: that of the program that watches a cluster's API."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from netviz.inventory.models import valid_node_name
from netviz.inventory.service import DEFAULT_CLUSTER, enrol, enrol_watcher
from netviz.private import secret_output
from netviz.schema import bring_up_to_date


class Command(BaseCommand):
    """Print a new token for a node's collector; it is not shown again."""

    help = "Enrol a collector for a node and print its token, once"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add NODE, --watcher, --cluster, --approve and --out."""
        whom = parser.add_mutually_exclusive_group(required=True)
        whom.add_argument("node", metavar="NODE", nargs="?", help="the node's name, as its collector is told")
        whom.add_argument(
            "--watcher",
            action="store_true",
            help="for the program that watches the cluster's API, not for a node",
        )
        parser.add_argument(
            "--cluster",
            default=DEFAULT_CLUSTER,
            help="the cluster, or that of a new node (default: %(default)s)",
        )
        parser.add_argument("--approve", action="store_true", help="approve it at once")
        parser.add_argument(
            "--out", metavar="FILE", help="write the token to this file, which only you can read"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Enrol and print."""
        cluster, approve = options["cluster"], options["approve"]
        if not options["watcher"]:
            try:
                valid_node_name(options["node"])
            except ValidationError as err:
                raise CommandError(err.message) from None
        bring_up_to_date(self.stderr.write)
        try:
            with secret_output(options["out"], self.stdout.write) as write:
                if options["watcher"]:
                    _, token = enrol_watcher(cluster, approve=approve)
                else:
                    _, token = enrol(options["node"], cluster_name=cluster, approve=approve)
                write(token)
        except OSError as err:
            raise CommandError(f"cannot write the token: {err}") from None
        if not approve:
            self.stderr.write("It waits for approval in the admin pages.")
