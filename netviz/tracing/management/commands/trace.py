"""`./manage.py trace`: predict a packet's path from state files alone, or, with --at, from the journal's past."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandParser
from django.db import DatabaseError

from netviz.core.plain import plain
from netviz.core.sim.counted import with_counts
from netviz.core.sim.render import render_text, trace_json
from netviz.core.sim.walk import simulate
from netviz.core.wire.nvz import NvzError
from netviz.ingest.history import BadTime, NoHistory, parse_time
from netviz.tracing.doubt import clock
from netviz.tracing.offline import OfflineCommand
from netviz.tracing.predict import CannotTrace, describe, iso, resolve
from netviz.tracing.request import TraceRequest
from netviz.tracing.states import View, of_files, past

# The options that are a request's fields.
ASKED = ("source", "target", "proto", "sport", "dport", "length", "df")


class Command(OfflineCommand):
    """Trace a packet offline."""

    name = "trace"
    help = "Predict the path of a packet, and of the answer, from state files (python -m agents snapshot)"

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        states = parser.add_mutually_exclusive_group(required=True)
        states.add_argument("--state", action="append", metavar="FILE.nvz", help="one for each node")
        states.add_argument(
            "--at", metavar="TIME", help="all nodes at this time, from the server's journal: ISO 8601, UTC"
        )
        parser.add_argument(
            "--objects", metavar="DIR", help="the Kubernetes API's lists, as *.json or *.json.gz"
        )
        parser.add_argument(
            "--from", dest="source", required=True, metavar="SRC", help="pod, namespace, node, IP or workload"
        )
        parser.add_argument(
            "--to", dest="target", required=True, metavar="DST", help="pod, IP or service, also with :PORT"
        )
        parser.add_argument("--proto", default="tcp", choices=("tcp", "udp", "icmp", "auto"))
        parser.add_argument("--sport", type=int, metavar="N")
        parser.add_argument(
            "--dport", type=int, metavar="N", help="default: the lowest on which the target listens, else 80"
        )
        parser.add_argument("--len", dest="length", type=int, metavar="BYTES", help="the whole IP packet")
        parser.add_argument("--df", action="store_true", help="forbid fragmentation")
        parser.add_argument(
            "--json", action="store_true", help="the stable JSON object; -v 2 details the text"
        )

    def _view(self, options: dict[str, Any]) -> View:
        if options["state"]:
            return of_files(options["state"], options["objects"])
        if options["objects"]:
            self.fail("--objects goes with --state")
        return past(parse_time(options["at"]))

    def handle(self, *args: Any, **options: Any) -> None:
        """Trace and print."""
        try:
            request = TraceRequest(**{name: options[name] for name in ASKED})
            view = self._view(options)
            flow = resolve(request, view).flow
        except (NvzError, CannotTrace, NoHistory, BadTime) as err:
            self.fail(str(err))
        except DatabaseError as err:
            self.fail(f"the journal cannot be read: {err}")
        trace = with_counts(view.cluster, simulate(view.cluster, flow), iso)
        if options["json"]:
            shown = trace_json(trace, describe(view, view.inputs))
            self.stdout.write(json.dumps(shown, indent=2))
        else:
            self.stdout.write(render_text(trace, detailed=options["verbosity"] > 1), ending="")
            self.stdout.write(f"\n{plain(_moments(view))}")


def _moments(view: View) -> str:
    """Say of which moment each node's state is: a file gets no older, but the cluster goes on."""
    moments = [f"{name} at {clock(one.at_s)}" for name, one in sorted(view.inputs.items())]
    return f"State of {', '.join(moments)}."
