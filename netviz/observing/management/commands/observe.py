"""`./manage.py observe`: have a running server send a probe, and print what was seen of it beside the prediction.

The server is NETVIZ_URL, the API token NETVIZ_TOKEN. Exit status 0: observed, whatever was seen; 2: bad input, or refused;
3: the server, or the observation, failed.
"""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandParser

from netviz.core.plain import plain
from netviz.observing.asking import AskingCommand
from netviz.observing.text import capture_lines, lines_of

# The options that are a request's fields, and their names there.
ASKED = {
    "source": "from",
    "target": "to",
    "proto": "proto",
    "sport": "sport",
    "dport": "dport",
    "length": "len",
    "count": "count",
}


class Command(AskingCommand):
    """Observe by a running server."""

    name = "observe"
    help = "Send a probe, or listen, by a running server (NETVIZ_URL, NETVIZ_TOKEN), and show where the kernels really took it"

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--from", dest="source", required=True, metavar="SRC", help="pod, namespace, node or IP"
        )
        parser.add_argument("--to", dest="target", required=True, metavar="DST", help="pod or IP")
        parser.add_argument(
            "--proto",
            default="tcp",
            choices=("tcp", "udp", "icmp", "auto"),
            help="an application may take a datagram for its own: udp only where you say so (default: tcp)",
        )
        parser.add_argument("--sport", type=int, metavar="N")
        parser.add_argument("--dport", type=int, metavar="N")
        parser.add_argument(
            "--len", dest="length", type=int, metavar="BYTES", help="the whole IP packet, of udp and icmp"
        )
        parser.add_argument("--count", type=int, metavar="N", help="probes, one after the other (10 at most)")
        parser.add_argument("--df", action="store_true", help="forbid fragmentation")
        parser.add_argument(
            "--listen",
            type=int,
            metavar="SECONDS",
            help="send nothing: watch what goes between the two for so long (60 at most), at every hop of their trace",
        )
        parser.add_argument("--json", action="store_true", help="the observation's JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Observe and print."""
        request = {name: options[option] for option, name in ASKED.items() if options[option] is not None}
        if options["df"]:
            request["df"] = True
        if options["listen"] is not None:
            request.pop("count", None)
            traced = self.call("/api/traces", request)
            wish = {"trace": traced["id"], "seconds": options["listen"], "drops": True}
            found = self.observed("/api/captures", wish)
        else:
            found = self.observed("/api/observations", request)
        if options["json"]:
            self.stdout.write(json.dumps(found, indent=2))
        elif options["listen"] is not None:
            self.stdout.write("\n".join(map(plain, capture_lines(found))))
        elif found["trace"] is not None:
            self.stdout.write("\n".join(map(plain, lines_of(found))))
        if found["status"] == "failed":
            self.failed(found["error"] or "the observation failed")
