"""`./manage.py trace`: predict a packet's path from state files alone, without a server or a database."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandParser

from netviz.core.plain import plain
from netviz.core.sim.endpoints import EndpointError, resolve_flow
from netviz.core.sim.render import render_text, trace_json
from netviz.core.sim.walk import simulate
from netviz.core.state.node import NodeState
from netviz.core.wire.nvz import Capture, NvzError, join_captures, load_nvz

BAD_INPUT = 2


def read_state(path: str) -> tuple[Capture, NodeState]:
    """Read one state file. Raises: NvzError, with the file's name."""
    try:
        return load_nvz(Path(path).read_bytes())
    except OSError as err:
        raise NvzError(f"{path}: {err.strerror or err}") from None
    except NvzError as err:
        raise NvzError(f"{path}: {err}") from None


def describe_inputs(files: Iterable[tuple[Capture, NodeState]], now_s: float) -> list[dict[str, Any]]:
    """Say of each file how old it is and whether the collector read everything."""
    return [
        {
            "node": state.node,
            "revision": 0,
            "age_s": round(max(0.0, now_s - capture.taken_at_s), 1),
            "complete": state.complete,
        }
        for capture, state in files
    ]


class Command(BaseCommand):
    """Trace a packet offline."""

    help = "Predict the path of a packet, and of the answer, from state files (python -m agents snapshot)"
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Make a parser whose complaints are one line, and which takes no abbreviations."""
        parser = super().create_parser(prog_name, subcommand, allow_abbrev=False, **kwargs)
        parser.error = self.fail  # type: ignore[method-assign]
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--state", action="append", required=True, metavar="FILE.nvz", help="one for each node"
        )
        parser.add_argument(
            "--from", dest="source", required=True, metavar="SRC", help="pod, namespace, node or IP"
        )
        parser.add_argument("--to", dest="target", required=True, metavar="DST", help="pod or IP")
        parser.add_argument("--proto", default="tcp", choices=("tcp", "udp", "icmp"))
        parser.add_argument("--sport", type=int, metavar="N")
        parser.add_argument(
            "--dport", type=int, metavar="N", help="default: the target's only listener, else 80"
        )
        parser.add_argument("--len", dest="length", type=int, metavar="BYTES", help="the whole IP packet")
        parser.add_argument("--df", action="store_true", help="forbid fragmentation")
        parser.add_argument(
            "--json", action="store_true", help="the stable JSON object; -v 2 details the text"
        )

    def fail(self, message: str) -> NoReturn:
        """Complain in one line and exit with status 2."""
        self.stderr.write(plain(f"trace: {' '.join(str(message).split())}"))
        raise SystemExit(BAD_INPUT)

    def handle(self, *args: Any, **options: Any) -> None:
        """Trace and print."""
        try:
            files = [read_state(path) for path in options["state"]]
            cluster = join_captures(files)
            flow = resolve_flow(
                cluster,
                options["source"],
                options["target"],
                options["proto"],
                options["sport"],
                options["dport"],
                options["length"],
                options["df"],
            )
        except (NvzError, EndpointError) as err:
            self.fail(str(err))
        trace = simulate(cluster, flow)
        if options["json"]:
            state = describe_inputs(files, time.time())
            self.stdout.write(json.dumps(trace_json(trace, state), indent=2))
        else:
            self.stdout.write(render_text(trace, detailed=options["verbosity"] > 1), ending="")
