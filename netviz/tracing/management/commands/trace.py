"""`./manage.py trace`: predict a packet's path from state files alone, or, with --at, from the journal's past."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandParser
from django.db import DatabaseError

from netviz.core.intent.why import headline, of_trace, told
from netviz.core.observe.cannot import ALWAYS_UNSEEN
from netviz.core.observe.render import names_of, observed_json, render_observation
from netviz.core.plain import plain
from netviz.core.sim.context import simulate_in_context
from netviz.core.sim.counted import with_counts
from netviz.core.sim.render import render_text, trace_json
from netviz.core.wire.nvz import NvzError
from netviz.ingest.history import BadTime, NoHistory, parse_time
from netviz.tracing.apis import policy_doubts
from netviz.tracing.doubt import clock
from netviz.tracing.offline import OfflineCommand
from netviz.tracing.predict import CannotTrace, describe, iso, resolve
from netviz.tracing.request import TraceRequest
from netviz.tracing.states import View, observation_in, of_files, past
from netviz.tracing.table import several, table

# The options that are a request's fields.
ASKED = ("source", "target", "proto", "sport", "dport", "length", "df")


class Command(OfflineCommand):
    """Trace a packet offline."""

    name = "trace"
    help = "Predict the path of a packet, and of the answer, from state files (python -m agents snapshot)"

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        states = parser.add_mutually_exclusive_group(required=True)
        states.add_argument(
            "--state",
            action="append",
            metavar="FILE.nvz",
            help="one for each node, or an observation's file, which is judged again where no ends are named",
        )
        states.add_argument(
            "--at", metavar="TIME", help="all nodes at this time, from the server's journal: ISO 8601, UTC"
        )
        self.add_objects(parser)
        parser.add_argument(
            "--from", dest="source", metavar="SRC", help="pod, namespace, node, IP or workload"
        )
        parser.add_argument("--to", dest="target", metavar="DST", help="pod, IP or service, also with :PORT")
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
        if options["source"] is None and options["target"] is None and self._judge_again(options):
            return
        missing = [
            name for name, field in (("--from", "source"), ("--to", "target")) if options[field] is None
        ]
        if missing:
            self.fail(f"the following arguments are required: {', '.join(missing)}")
        try:
            request = TraceRequest(**{name: options[name] for name in ASKED})
            view = self._view(options)
            if several(request, view):
                self._print_table(table(request, view, float("inf")), options["json"])
                return
            flow = resolve(request, view).flow
        except (NvzError, CannotTrace, NoHistory, BadTime) as err:
            self.fail(str(err))
        except DatabaseError as err:
            self.fail(f"the journal cannot be read: {err}")
        trace = simulate_in_context(view.cluster, flow)
        trace = with_counts(view.cluster, trace, iso)
        if options["json"]:
            shown = told(view.cluster, trace, policy_doubts(view), describe(view, view.inputs))
            self.stdout.write(json.dumps(shown, indent=2))
        else:
            why = of_trace(view.cluster, trace, policy_doubts(view))
            notes = [f"policies: {why['sentence']}"] if why is not None else []
            notes += [f"not sure of the policies: {one}" for one in why["unsure"]] if why is not None else []
            text = render_text(trace, options["verbosity"] > 1, headline(trace, why), notes)
            self.stdout.write(text, ending="")
            self.stdout.write(f"\n{plain(_moments(view))}")

    def _judge_again(self, options: dict[str, Any]) -> bool:
        """Print what an observation's file says, predicted anew; tell whether there is one."""
        try:
            kept = observation_in(options["state"] or ())
            if kept is None:
                return False
            trace, observation = kept.judged()
        except NvzError as err:
            self.fail(str(err))
        if options["json"]:
            found = observed_json(trace_json(trace), observation, kept.evidence, ALWAYS_UNSEEN)
            self.stdout.write(json.dumps(found, indent=2))
        else:
            names = names_of(kept.cluster())
            text = render_observation(trace, observation, kept.evidence, ALWAYS_UNSEEN, names)
            self.stdout.write(text, ending="")
        return True

    def _print_table(self, found: dict[str, Any], as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(found, indent=2))
            return
        wide = {end: max((len(row[end]) for row in found["rows"]), default=0) for end in ("from", "to")}
        for row in found["rows"]:
            outcome = row["outcome"] or "not traced"
            line = f"{outcome:15} {row['from']:{wide['from']}}  {row['to']:{wide['to']}}  {row['headline']}"
            self.stdout.write(plain(line))
        for sentence in found["unsure"]:
            self.stdout.write(f"Not sure of the policies: {plain(sentence)}.")
        if found["left_off"]:
            self.stdout.write(f"{found['left_off']} more pairs weren't traced: name fewer pods")


def _moments(view: View) -> str:
    """Say of which moment each node's state is: a file gets no older, but the cluster goes on."""
    moments = [f"{name} at {clock(one.at_s)}" for name, one in sorted(view.inputs.items())]
    return f"State of {', '.join(moments)}."
