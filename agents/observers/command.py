"""`python -m agents observe`: a probe on one node without a server, predicted and observed side by side."""

from __future__ import annotations

import argparse
import json
import sys

from agents.kernel import Kernel
from agents.observers.session import Observed, ProbeRequest, observe
from agents.options import BadInput, make_collectors, node_options
from netviz.core.observe.render import names_of, observed_json, render_observation
from netviz.core.sim.endpoints import EndpointError
from netviz.core.sim.render import trace_json

MAX_COUNT = 10
MAX_WAIT_S = 30.0


def split_target(text: str) -> tuple[str, int | None]:
    """Take the port off `ADDR:PORT`, `[ADDR]:PORT` or `NAME:PORT`; an IPv6 address alone has none. Raises: BadInput."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or (":" in host and not bracketed):
        return text.removeprefix("[").removesuffix("]"), None
    if not port.isdigit() or not 0 < int(port) <= 65535:
        raise BadInput(f"--to {text}: {port!r} is not a port (1 to 65535)")
    return host.removeprefix("[").removesuffix("]"), int(port)


def request_of(args: argparse.Namespace) -> ProbeRequest:
    """Check what is asked for. Raises: BadInput."""
    to, dport = split_target(args.to)
    if not 0 < args.count <= MAX_COUNT:
        raise BadInput(f"--count {args.count} is not between 1 and {MAX_COUNT}")
    if not 0 < args.wait <= MAX_WAIT_S:
        raise BadInput(f"--wait {args.wait:g} is not between 0 and {MAX_WAIT_S:g} seconds")
    if args.proto == "icmp" and dport is not None:
        raise BadInput("an ICMP echo request has no port")
    if args.proto == "tcp" and args.size is not None:
        raise BadInput("--size: a SYN's size is the kernel's; use it with udp or icmp")
    return ProbeRequest(
        args.from_, to, args.proto, dport, args.sport, args.size, args.df, args.count, args.wait
    )


def run(args: argparse.Namespace, kernel: Kernel) -> int:
    """Send the probes and print what became of each. Raises: BadInput, OSError."""
    request = request_of(args)
    try:
        for observed in observe(node_options(args, kernel), make_collectors(args), kernel, request):
            sys.stdout.write(as_json(observed) if args.json else as_text(observed))
            sys.stdout.flush()
    except EndpointError as error:
        raise BadInput(str(error)) from None
    return 0


def as_json(observed: Observed) -> str:
    """Render a probe as one line of JSON."""
    found = observed_json(
        trace_json(observed.trace), observed.observation, observed.evidence, observed.cannot
    )
    return json.dumps(found, separators=(",", ":")) + "\n"


def as_text(observed: Observed) -> str:
    """Render a probe for a terminal."""
    names = names_of(observed.cluster)
    return render_observation(observed.trace, observed.observation, observed.evidence, observed.cannot, names)
