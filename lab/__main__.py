"""The lab's command line: `python -m lab up|down|list|exec|break|mend|...`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from lab import kinds, privileges, userns, visit
from lab.churn import run_churn
from lab.cluster import Cluster, LabError, running, sweep
from lab.cni_verify import command as cni_verify
from lab.faults import FAULTS, apply_fault, describe, listed, mend
from lab.spec import ClusterSpec
from netviz.core.plain import plain

DEFAULT_NAME = "lab"


def _pick(name: str | None) -> Cluster:
    """Return the named cluster, or the only one that is up. Raises: LabError."""
    if name is None:
        found = running()
        if len(found) != 1:
            raise LabError(f"which cluster? up: {', '.join(found)}" if found else "no cluster is up")
        name = found[0]
    return Cluster.load(name)


def _say(text: str, file: TextIO | None = None) -> None:
    """Print a line; what it quotes may be anybody's words."""
    print(plain(text), file=file, flush=True)


def _up(args: argparse.Namespace) -> int:
    started = time.monotonic()
    spec = ClusterSpec(
        args.name,
        nodes=args.nodes,
        pods=args.pods,
        kind=args.kind,
        variant=args.variant,
        ipv6=not args.ipv4,
        services=args.services,
        proxy=args.proxy,
    )
    cluster = Cluster.up(spec, progress=lambda text: _say(text, sys.stderr), detached=True)
    _say(f"{cluster.name} is up in {cluster.directory} ({time.monotonic() - started:.1f} s)")
    return 0


def _down(args: argparse.Namespace) -> int:
    names = running() if args.all else [args.name] if args.name else [_pick(None).name]
    for name in names:
        Cluster.load(name).down()
        _say(f"{name} is down")
    sweep()
    return 0


def _list(args: argparse.Namespace) -> int:
    for name in running():
        state = Cluster.load(name).state
        _say(
            f"{name}: {state.spec.kind}, {len(state.nodes)} nodes, {sum(len(n.pods) for n in state.nodes.values())} pods"
        )
        for fault in state.faults:
            _say(f"  fault {fault.id}")
        if args.verbose:
            for node in state.nodes.values():
                _say(f"  {node.name} {node.ipv4} {node.ipv6}{'' if node.alive else ' (dead)'}")
                for pod in node.pods.values():
                    _say(f"    {pod.name} {pod.ipv4} {pod.ipv6} {pod.host_ifname}")
    return 0


def _exec(args: argparse.Namespace) -> int:
    argv = args.argv[1:] if args.argv[:1] == ["--"] else args.argv
    line = visit.command(_pick(args.cluster), args.target, argv)
    os.execvp(line[0], line)


def _break(args: argparse.Namespace) -> int:
    if args.list and args.json:
        up = args.cluster is not None or len(running()) == 1
        print(json.dumps(listed(_pick(args.cluster) if up else None), indent=1))
        return 0
    if args.list:
        width = max(map(len, FAULTS))
        for fault in FAULTS.values():
            _say(f"{fault.name:{width}}  {fault.summary} ({', '.join(fault.kinds)})")
        return 0
    if args.fault is None:
        raise LabError("break needs the name of a fault; break --list shows them")
    cluster = _pick(args.cluster)
    applied = apply_fault(
        cluster, args.fault, node=args.node, other=args.other, pod=args.pod, other_pod=args.other_pod
    )
    _say(f"{applied.id}: {describe(applied)}")
    return 0


def _mend(args: argparse.Namespace) -> int:
    for identity in mend(_pick(args.cluster), args.fault):
        _say(f"mended {identity}")
    return 0


def _churn(args: argparse.Namespace) -> int:
    halt = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: halt.set())
    report = run_churn(_pick(args.name), args.rate, args.seconds, args.seed, stop=halt)
    _say(f"{report.changes} changes in {report.elapsed_s:.1f} s ({report.rate_per_s:.1f} a second)")
    _say("  " + ", ".join(f"{kind} {count}" for kind, count in report.by_kind.items()))
    if report.failed:
        _say(f"  {report.failed} failed, on nodes that were dead")
    return 0


def _pod(args: argparse.Namespace) -> int:
    cluster = _pick(args.cluster)
    if args.remove:
        cluster.remove_pod(args.name)
        _say(f"removed {args.name}")
    else:
        if args.node not in cluster.nodes:
            raise LabError(f"{cluster.name} has no node {args.node}")
        pod = cluster.add_pod(args.node, args.name)
        _say(f"{pod.name} {pod.ipv4} {pod.ipv6} on {pod.node}")
    return 0


def _node(args: argparse.Namespace) -> int:
    cluster = _pick(args.cluster)
    if args.node not in cluster.nodes:
        raise LabError(f"{cluster.name} has no node {args.node}")
    if args.restart:
        cluster.restart_node(args.node)
    else:
        cluster.kill_node(args.node)
    _say(f"{args.node} {'runs again' if args.restart else 'is dead'}")
    return 0


def _apply(args: argparse.Namespace) -> int:
    text = sys.stdin.read() if args.file == "-" else Path(args.file).read_text()
    try:
        made = json.loads(text)
    except ValueError as error:
        raise LabError(f"{args.file} is no JSON: {error}") from error
    _pick(args.cluster).apply(made if isinstance(made, list) else [made])
    return 0


def _delete(args: argparse.Namespace) -> int:
    _pick(args.cluster).delete(args.kind, args.name, args.namespace)
    return 0


def _sweep(_: argparse.Namespace) -> int:
    for name in sweep():
        _say(f"removed what was left of {name}")
    return 0


def _add_changing_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    fault = commands.add_parser("break", help="apply a fault")
    fault.add_argument("fault", nargs="?")
    fault.add_argument("--list", action="store_true", help="list the faults and what a user would see")
    fault.add_argument("--json", action="store_true", help="with --list: as JSON, with what it affects")
    for option in ("--cluster", "--node", "--other", "--pod", "--other-pod"):
        fault.add_argument(option)
    fault.set_defaults(run=_break)
    undo = commands.add_parser("mend", help="undo a fault by its name or id, or all of them")
    undo.add_argument("fault", nargs="?", default="all")
    undo.add_argument("--cluster")
    undo.set_defaults(run=_mend)
    changes = commands.add_parser("churn", help="make changes at a steady rate, then undo them")
    changes.add_argument("name", nargs="?")
    changes.add_argument("--rate", type=float, default=50, help="changes a second")
    changes.add_argument("--seconds", type=float, default=60)
    changes.add_argument("--seed", type=int, default=0)
    changes.set_defaults(run=_churn)
    add = commands.add_parser("add-pod", help="add a pod to a node")
    add.add_argument("node")
    add.add_argument("name", nargs="?")
    add.set_defaults(run=_pod, remove=False)
    remove = commands.add_parser("remove-pod", help="remove a pod")
    remove.add_argument("name")
    remove.set_defaults(run=_pod, remove=True)
    apply = commands.add_parser("apply", help="add or replace services and network policies")
    apply.add_argument("file", help="the API's objects as JSON, - for standard input")
    apply.set_defaults(run=_apply)
    delete = commands.add_parser("delete", help="delete a service or network policy")
    delete.add_argument("kind")
    delete.add_argument("name")
    delete.add_argument("--namespace", default="default")
    delete.set_defaults(run=_delete)
    kill = commands.add_parser("kill-node", help="kill a node as if its power failed")
    kill.set_defaults(run=_node, restart=False)
    restart = commands.add_parser("restart-node", help="boot a node again, with the pods it had")
    restart.set_defaults(run=_node, restart=True)
    for command in (kill, restart):
        command.add_argument("node")
    for command in (add, remove, apply, delete, kill, restart):
        command.add_argument("--cluster")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lab", description="Emulated clusters in network namespaces."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="build a cluster")
    up.add_argument("name", nargs="?", default=DEFAULT_NAME)
    summaries = "; ".join(f"{kind.name}: {kind.summary}" for kind in kinds.KINDS.values())
    up.add_argument("--kind", default="textbook", help=f"the sort of network ({summaries})")
    up.add_argument("--variant", default="", help="a variant of the kind, where it has some")
    up.add_argument("--ipv4", action="store_true", help="without IPv6")
    up.add_argument("--services", type=int, default=2, help="services besides DNS; 0: neither")
    up.add_argument("--proxy", default="nftables", help="kube-proxy's mode: nftables, iptables, or both")
    up.add_argument("--nodes", type=int, default=3)
    up.add_argument("--pods", type=int, default=5, help="pods on each node")
    up.set_defaults(run=_up)
    down = commands.add_parser("down", help="remove a cluster")
    down.add_argument("name", nargs="?")
    down.add_argument("--all", action="store_true", help="remove every cluster")
    down.set_defaults(run=_down)
    listing = commands.add_parser("list", help="show what is up")
    listing.add_argument("-v", "--verbose", action="store_true", help="with nodes, pods and addresses")
    listing.set_defaults(run=_list)
    run = commands.add_parser(
        "exec", help="run a program (a shell if none is given) on a node, in a pod, on the router or internet"
    )
    run.add_argument("--cluster")
    run.add_argument("target")
    run.add_argument("argv", nargs=argparse.REMAINDER)
    run.set_defaults(run=_exec)
    _add_changing_commands(commands)
    cni_verify.add_to(commands)
    commands.add_parser("sweep", help="remove what killed runs left behind").set_defaults(run=_sweep)
    return parser


def _enter_user_namespace() -> None:
    """Where this user may not touch a lab himself, go where his demo runs one."""
    try:
        privileges.require()
    except LabError:
        pid = userns.holder()
        if pid is not None:
            userns.enter(pid, "lab", sys.argv[1:])


def main() -> int:
    """Run one command; trouble is one line on standard error and status 1."""
    args = _parser().parse_args()
    try:
        _enter_user_namespace()
        status: int = args.run(args)
        return status
    except (LabError, OSError) as error:
        _say(f"lab: {error}", sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
