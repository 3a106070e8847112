"""The commands that go on for as long as they are let: `run`, `record` and `replay`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from agents import __version__
from agents.kernel import Kernel
from agents.opened import read_boot_id
from agents.options import BadInput, check_out, make_collectors, node_options
from agents.recording import Recorder, RecordingError, Replay, read_recording
from agents.runner import Runner
from agents.source import Observing, Say
from agents.token_file import TokenFileError, read_token
from agents.transport import Transport, TransportOptions, is_private, socket_url
from netviz.core.plain import PlainFormatter, plain


def server_options(args: argparse.Namespace, node: str, proc: str | None) -> TransportOptions:
    """Check and gather what says where to send. Raises: BadInput."""
    token_file = Path(args.token_file)
    if not token_file.is_file():
        raise BadInput(f"--token-file {args.token_file}: no such file")
    try:
        url = socket_url(args.server)
    except ValueError as err:
        raise BadInput(f"--server: {err}") from None
    if not (args.insecure_http or is_private(url)):
        raise BadInput(
            f"--server {args.server}: token and state would cross the network unencrypted: "
            "use https://, or say --insecure-http"
        )
    try:
        read_token(token_file)
    except (OSError, TokenFileError) as err:
        raise BadInput(f"--token-file: {err}") from None
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


def observing(runner: Runner) -> Callable[[Say], Observing]:
    """Say how to make what observes; only who may observe loads what that needs."""
    from agents.observers.service import Observers

    return lambda say: Observers(runner.node, runner.namespaces, say)


def run_collector(args: argparse.Namespace, kernel: Kernel) -> int:
    """Collect, and keep a server informed, until a signal ends it."""
    options = node_options(args, kernel)
    server = server_options(args, options.node, options.proc)

    async def work() -> None:
        runner = Runner(options, make_collectors(args), kernel=kernel)
        transport = Transport(server, runner, observing(runner) if args.allow_observe else None)
        runner.sink = transport
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(runner.run())
            await runner.ready.wait()
            await transport.run()

    return run_until_signalled(work(), verbose=args.verbose)


def record_changes(args: argparse.Namespace, kernel: Kernel) -> int:
    """Write a node's state and all its changes to a file until a signal ends it."""
    options = node_options(args, kernel)
    check_out(args.out)

    async def work() -> None:
        runner = Runner(options, make_collectors(args), kernel=kernel)
        with open(args.out, "wb") as file:
            recorder = Recorder(file, runner)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(runner.run())
                await runner.ready.wait()
                recorder.begin()
                runner.sink = recorder
                print(
                    plain(f"recording {options.node} to {args.out}; Ctrl-C ends it"),
                    file=sys.stderr,
                    flush=True,
                )

    return run_until_signalled(work(), verbose=args.verbose)


def replay_recording(args: argparse.Namespace, _kernel: Kernel) -> int:
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
            print(plain(f"replayed {told} changes of {head.node}"), file=sys.stderr, flush=True)
            while args.hold or transport.unacked:
                await asyncio.sleep(0.1)
        finally:
            connection.cancel()
            await asyncio.gather(connection, return_exceptions=True)

    try:
        return run_until_signalled(work(), verbose=args.verbose)
    except RecordingError as err:
        raise BadInput(str(err)) from None


def run_until_signalled(work: Coroutine[Any, Any, None], *, verbose: bool) -> int:
    """Do a command's work until it ends or a signal comes, with its log on stderr. Raises: OSError."""
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])
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


COMMANDS = {"run": run_collector, "record": record_changes, "replay": replay_recording}
