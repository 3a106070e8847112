"""The collector's command line: `python -m agents snapshot|run|record|replay|observe|kubernetes`.

Exit status 2 and one line on stderr for bad input; 1 when the work failed. A snapshot takes half a
second, so what only the other commands need (`agents.live`) is imported for them alone.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from agents.kernel import Kernel
from agents.options import BadInput, add_node_options, file_behind, make_collectors, node_options
from agents.snapshot import Snapshotter
from netviz.core.plain import plain
from netviz.core.wire.nvz import dump_nvz


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadInput(message)


def build_parser() -> argparse.ArgumentParser:
    """Make the command line's parser."""
    parser = _Parser(prog="python -m agents", description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    snapshot = commands.add_parser("snapshot", help="write one node's whole state to a file")
    add_node_options(snapshot)
    snapshot.add_argument("--out", required=True, metavar="FILE.nvz", help="the file to write")
    snapshot.set_defaults(handler=take_snapshot)
    run = commands.add_parser("run", help="collect, and keep a server informed")
    add_node_options(run)
    _add_server_options(run)
    run.add_argument(
        "--allow-observe",
        action="store_true",
        help="send probes and watch them where the server's operators ask for it (default: only read)",
    )
    run.set_defaults(handler=_run_live)
    record = commands.add_parser("record", help="write a node's state and all its changes to a file")
    add_node_options(record)
    record.add_argument("--out", required=True, metavar="FILE", help="the file to write")
    record.add_argument("--verbose", action="store_true", help="log more")
    record.set_defaults(handler=_run_live)
    replay = commands.add_parser("replay", help="live through a recording against a server")
    replay.add_argument("recording", metavar="FILE", help="what `record` wrote")
    replay.add_argument("--node", metavar="NAME", help="check that the recording is of this node")
    replay.add_argument("--speed", type=float, default=1.0, metavar="N", help="how many times as fast")
    replay.add_argument("--hold", action="store_true", help="stay connected when the recording ends")
    _add_server_options(replay)
    replay.set_defaults(handler=_run_live)
    observe = commands.add_parser(
        "observe", help="send a probe on this node and lay its path beside the prediction"
    )
    add_node_options(observe)
    _add_probe_options(observe)
    observe.set_defaults(handler=_observe)
    _add_kubernetes(commands.add_parser("kubernetes", help="watch a cluster's Kubernetes API for a server"))
    return parser


def _add_probe_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from", dest="from_", required=True, metavar="NETNS", help="the sender's namespace, pod or address"
    )
    parser.add_argument(
        "--to", required=True, metavar="ADDR[:PORT]", help="the target: an address, pod or namespace"
    )
    parser.add_argument(
        "--proto", choices=("tcp", "udp", "icmp"), default="tcp", help="the protocol (default: tcp)"
    )
    parser.add_argument("--sport", type=int, metavar="PORT", help="the source port (default: a free one)")
    parser.add_argument("--size", type=int, metavar="BYTES", help="the whole IP packet, of udp and icmp")
    parser.add_argument("--df", action="store_true", help="don't let it be fragmented")
    parser.add_argument(
        "--count", type=int, default=1, metavar="N", help="how many probes, at most 10 (default: 1)"
    )
    parser.add_argument(
        "--wait", type=float, default=2.0, metavar="SECONDS", help="for an answer (default: 2)"
    )
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each probe")


def _observe(args: argparse.Namespace, kernel: Kernel) -> int:
    from agents.observers import command

    return command.run(args, kernel)


def _add_kubernetes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cluster", default="default", metavar="NAME", help="the cluster's name (default: %(default)s)"
    )
    parser.add_argument(
        "--kubeconfig",
        metavar="FILE",
        help="how to reach the API (default: the pod's service account, else $KUBECONFIG or ~/.kube/config)",
    )
    parser.add_argument(
        "--context", metavar="NAME", help="the kubeconfig's context (default: its current one)"
    )
    parser.add_argument(
        "--objects", metavar="DIR", help="follow the API's lists in this folder (*.json, *.json.gz) instead"
    )
    parser.add_argument(
        "--snapshot", metavar="FILE.nvz", help="list everything once, write it to this file, and end"
    )
    _add_server_options(parser, required=False)
    parser.set_defaults(handler=_run_kubernetes)


def _add_server_options(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument("--server", required=required, metavar="URL", help="the server's base URL")
    parser.add_argument(
        "--token-file",
        required=required,
        metavar="FILE",
        help="the collector's token; no others may read it",
    )
    parser.add_argument(
        "--insecure-http", action="store_true", help="allow http:// to a server that isn't on this machine"
    )
    parser.add_argument("--verbose", action="store_true", help="log more")


def _run_live(args: argparse.Namespace, kernel: Kernel) -> int:
    from agents import live

    return live.COMMANDS[args.command](args, kernel)


def _run_kubernetes(args: argparse.Namespace, _kernel: Kernel) -> int:
    from agents.kubernetes import commands

    return commands.run_kubernetes(args)


def take_snapshot(args: argparse.Namespace, kernel: Kernel) -> int:
    """Write one node's whole state to a file."""
    options = node_options(args, kernel)
    out = file_behind(args.out)
    started = time.monotonic()
    gc.disable()  # what is made here is kept to the end: looking for garbage takes a tenth of the time
    ledger = Snapshotter(options, make_collectors(args), kernel).run()
    data = dump_nvz(ledger.state, ledger.all_bodies(), time.time())
    partial = f"{out}.partial"
    with open(partial, "wb") as f:
        f.write(data)
    os.replace(partial, out)
    took = time.monotonic() - started
    print(
        plain(f"{args.out}: {len(ledger.state.netns)} namespaces, {len(data)} bytes, {took:.2f} s"),
        file=sys.stderr,
    )
    return 0


def main(argv: Sequence[str] | None = None, kernel: Kernel | None = None) -> int:
    """Run one command on a kernel (None: the one that this runs on) and return its exit status."""
    try:
        args = build_parser().parse_args(argv)
        return int(args.handler(args, kernel or Kernel()))
    except BadInput as err:
        print(plain(f"agents: {err}"), file=sys.stderr)
        return 2
    except PermissionError as err:
        print(plain(f"agents: {err}: reading other namespaces takes root (CAP_SYS_ADMIN)"), file=sys.stderr)
        return 1
    except OSError as err:
        print(plain(f"agents: {err}"), file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
