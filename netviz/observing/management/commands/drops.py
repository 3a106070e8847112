"""`./manage.py drops`: have a running server watch what a node, or a pod, drops, and print each group with what explains it.

The server is NETVIZ_URL, the API token NETVIZ_TOKEN. Exit status 0: watched, whatever was seen; 2: bad input, or refused;
3: the server, or the watch, failed.
"""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandParser

from netviz.core.plain import plain
from netviz.observing.asking import AskingCommand
from netviz.observing.drops import MOST_S
from netviz.observing.text import drop_lines


class Command(AskingCommand):
    """Watch drops by a running server."""

    name = "drops"
    help = "Watch by a running server (NETVIZ_URL, NETVIZ_TOKEN) what a node or a pod drops, and why"

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--of", required=True, metavar="NAME", help="a node, or a pod")
        parser.add_argument(
            "--seconds", type=int, default=10, metavar="N", help=f"how long, {MOST_S} at most (default: 10)"
        )
        parser.add_argument("--json", action="store_true", help="the watch's JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Watch and print."""
        found = self.observed("/api/drops", {"of": options["of"], "seconds": options["seconds"]})
        if options["json"]:
            self.stdout.write(json.dumps(found, indent=2))
        elif found["drops"] is not None:
            self.stdout.write("\n".join(map(plain, drop_lines(found))))
        if found["status"] == "failed":
            self.failed(found["error"] or "the watch failed")
