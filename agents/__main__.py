"""The collector's command line: `python -m agents snapshot|run|record|replay`.

Exit status 2 and one line on stderr for bad input; 1 when the work failed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, NoReturn

from agents import __version__
from agents.collectors.base import Collector
from agents.collectors.conntrack import Conntrack
from agents.collectors.cri import CriSource
from agents.collectors.ipvs import Ipvs
from agents.collectors.netfilter import Netfilter
from agents.collectors.netns import NetnsOptions, open_netns
from agents.collectors.pods import FileSource, Pods, PodSource
from agents.collectors.rtnl import Rtnl
from agents.collectors.sockets import Sockets
from agents.collectors.sysctl import Sysctls
from agents.recording import Recorder, RecordingError, Replay, read_recording
from agents.runner import Runner
from agents.snapshot import Snapshotter, read_boot_id
from agents.transport import Transport, TransportOptions, socket_url
from netviz.core.wire.nvz import dump_nvz

_NODE_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


class BadInput(Exception):
    """What the user gave cannot be used; the message is the one line they see."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadInput(message)


def build_parser() -> argparse.ArgumentParser:
    """Make the command line's parser."""
    parser = _Parser(prog="python -m agents", description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    snapshot = commands.add_parser("snapshot", help="write one node's whole state to a file")
    _add_node_options(snapshot)
    snapshot.add_argument("--out", required=True, metavar="FILE.nvz", help="the file to write")
    snapshot.set_defaults(handler=take_snapshot)
    run = commands.add_parser("run", help="collect, and keep a server informed")
    _add_node_options(run)
    _add_server_options(run)
    run.set_defaults(handler=run_collector)
    record = commands.add_parser("record", help="write a node's state and all its changes to a file")
    _add_node_options(record)
    record.add_argument("--out", required=True, metavar="FILE", help="the file to write")
    record.add_argument("--verbose", action="store_true", help="log more")
    record.set_defaults(handler=record_changes)
    replay = commands.add_parser("replay", help="live through a recording against a server")
    replay.add_argument("recording", metavar="FILE", help="what `record` wrote")
    replay.add_argument("--node", metavar="NAME", help="check that the recording is of this node")
    replay.add_argument("--speed", type=float, default=1.0, metavar="N", help="how many times as fast")
    replay.add_argument("--hold", action="store_true", help="stay connected when the recording ends")
    _add_server_options(replay)
    replay.set_defaults(handler=replay_recording)
    return parser


def _add_server_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--server", required=True, metavar="URL", help="the server's base URL")
    parser.add_argument("--token-file", required=True, metavar="FILE", help="the collector's token")
    parser.add_argument("--verbose", action="store_true", help="log more")


def _add_node_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--node", required=True, metavar="NAME", help="the node's name")
    parser.add_argument(
        "--root-netns", metavar="PATH", help="the node's own namespace (default: the one this runs in)"
    )
    parser.add_argument(
        "--netns-dir",
        metavar="DIR",
        action="append",
        help="a directory of namespace bind mounts; may be repeated (default: /run/netns)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--proc", metavar="PATH", default="/proc", help="the node's /proc (default: /proc)")
    where.add_argument("--no-proc", action="store_true", help="don't look for namespaces of processes")
    parser.add_argument(
        "--pods-file", metavar="FILE", help="a JSON file that says which namespace is which pod"
    )
    parser.add_argument("--cri", metavar="SOCKET", help="the container runtime's CRI socket")


def node_options(args: argparse.Namespace) -> NetnsOptions:
    """Check and gather what says where to look. Raises: BadInput."""
    if not _NODE_NAME.fullmatch(args.node):
        raise BadInput(f"--node {args.node!r}: use letters, digits, '-', '_' and '.'")
    if args.root_netns is not None:
        try:
            os.close(open_netns(args.root_netns))
        except FileNotFoundError:
            raise BadInput(f"--root-netns {args.root_netns}: no such file") from None
        except ValueError as err:
            raise BadInput(f"--root-netns: {err}") from None
    for directory in args.netns_dir or ():
        if not os.path.isdir(directory):
            raise BadInput(f"--netns-dir {directory}: no such directory")
    proc = None if args.no_proc else args.proc
    if proc is not None and not os.path.isdir(
        f"{proc}/1"
    ):  # a proc mount of another pid namespace has no "self" for us
        raise BadInput(f"--proc {proc}: no proc file system there")
    return NetnsOptions(args.node, args.root_netns, tuple(args.netns_dir or ("/run/netns",)), proc)


def make_collectors(args: argparse.Namespace) -> list[Collector]:
    """Make every collector that the options ask for. Raises: BadInput."""
    sources: list[PodSource] = []
    if args.pods_file is not None:
        if not os.path.isfile(args.pods_file):
            raise BadInput(f"--pods-file {args.pods_file}: no such file")
        sources.append(FileSource(args.pods_file))
    if args.cri is not None:
        sources.append(CriSource(args.cri))
    pods: list[Collector] = [Pods(sources)] if sources else []
    return [*pods, Rtnl(), Sysctls(), Sockets(), Netfilter(), Conntrack(), Ipvs()]


def server_options(args: argparse.Namespace, node: str, proc: str | None) -> TransportOptions:
    """Check and gather what says where to send. Raises: BadInput."""
    token_file = Path(args.token_file)
    if not token_file.is_file():
        raise BadInput(f"--token-file {args.token_file}: no such file")
    try:
        socket_url(args.server)
    except ValueError as err:
        raise BadInput(f"--server: {err}") from None
    kernel = os.uname().release
    return TransportOptions(args.server, token_file, node, __version__, kernel, read_boot_id(proc))


async def until_signalled(work: Coroutine[Any, Any, None]) -> None:
    """Do the work until it ends or SIGINT or SIGTERM comes, and clean up."""
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def run_collector(args: argparse.Namespace) -> int:
    """Collect, and keep a server informed, until a signal ends it."""
    options = node_options(args)
    server = server_options(args, options.node, options.proc)

    async def work() -> None:
        runner = Runner(options, make_collectors(args))
        transport = Transport(server, runner)
        runner.sink = transport
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(runner.run())
            await runner.ready.wait()
            await transport.run()

    return _run_until_signalled(work(), verbose=args.verbose)


def record_changes(args: argparse.Namespace) -> int:
    """Write a node's state and all its changes to a file until a signal ends it."""
    options = node_options(args)
    _check_out(args.out)

    async def work() -> None:
        runner = Runner(options, make_collectors(args))
        with open(args.out, "wb") as file:
            recorder = Recorder(file, runner)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(runner.run())
                await runner.ready.wait()
                recorder.begin()
                runner.sink = recorder
                print(f"recording {options.node} to {args.out}; Ctrl-C ends it", file=sys.stderr, flush=True)

    return _run_until_signalled(work(), verbose=args.verbose)


def replay_recording(args: argparse.Namespace) -> int:
    """Live through a recording against a server."""
    if not args.speed > 0:
        raise BadInput(f"--speed {args.speed}: must be above 0")
    try:
        head, steps = read_recording(Path(args.recording))
        replay = Replay(head, steps)
    except (RecordingError, FileNotFoundError, IsADirectoryError) as err:
        raise BadInput(str(err)) from None
    if args.node not in (None, head.node):
        raise BadInput(f"{args.recording} is a recording of node {head.node!r}, not {args.node!r}")
    server = server_options(args, head.node, None)

    async def work() -> None:
        transport = Transport(server, replay)
        replay.sink = transport
        connection = asyncio.create_task(transport.run())
        try:
            while not transport.connected:
                await asyncio.sleep(0.05)
            told = await replay.run(args.speed)
            print(f"replayed {told} changes of {head.node}", file=sys.stderr, flush=True)
            while args.hold or transport.unacked:
                await asyncio.sleep(0.1)
        finally:
            connection.cancel()
            await asyncio.gather(connection, return_exceptions=True)

    try:
        return _run_until_signalled(work(), verbose=args.verbose)
    except RecordingError as err:
        raise BadInput(str(err)) from None


def _run_until_signalled(work: Coroutine[Any, Any, None], *, verbose: bool) -> int:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    try:
        asyncio.run(until_signalled(work))
    except ExceptionGroup as group:
        first: Exception = group
        while isinstance(first, ExceptionGroup):
            first = first.exceptions[0]
        if isinstance(first, OSError):
            raise first from None
        raise
    return 0


def _check_out(path: str) -> None:
    directory = os.path.dirname(os.path.abspath(path))
    if not os.access(directory, os.W_OK):
        raise BadInput(f"--out {path}: cannot write to {directory}")


def take_snapshot(args: argparse.Namespace) -> int:
    """Write one node's whole state to a file."""
    options = node_options(args)
    _check_out(args.out)
    started = time.monotonic()
    gc.disable()  # what is made here is kept to the end: looking for garbage takes a tenth of the time
    ledger = asyncio.run(Snapshotter(options, make_collectors(args)).run())
    data = dump_nvz(ledger.state, ledger.all_bodies(), time.time())
    partial = f"{args.out}.partial"
    with open(partial, "wb") as f:
        f.write(data)
    os.replace(partial, args.out)
    took = time.monotonic() - started
    print(
        f"{args.out}: {len(ledger.state.netns)} namespaces, {len(data)} bytes, {took:.2f} s", file=sys.stderr
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    try:
        args = build_parser().parse_args(argv)
        return int(args.handler(args))
    except BadInput as err:
        print(f"agents: {err}", file=sys.stderr)
        return 2
    except PermissionError as err:
        print(f"agents: {err}: reading other namespaces takes root (CAP_SYS_ADMIN)", file=sys.stderr)
        return 1
    except OSError as err:
        print(f"agents: {err}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
