"""`python -m agents kubernetes`: keep a server informed of a cluster's objects, or write them to a file once.

They come from the cluster's API, or (`--objects`) out of a folder of its lists.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

from agents.kubernetes.client import Api, ApiOptions, NoConfig, read_config
from agents.kubernetes.folder import Folder
from agents.kubernetes.objects import ObjectsSource
from agents.kubernetes.watcher import Watcher
from agents.live import run_until_signalled, server_options
from agents.options import BadInput, file_behind
from agents.transport import Transport, TransportOptions
from netviz.core.plain import plain
from netviz.core.state.objects import OBJECT_SECTIONS, cluster_source
from netviz.core.wire.nvz import dump_nvz


def run_kubernetes(args: argparse.Namespace) -> int:
    """Run the command. Raises: BadInput."""
    if not 0 < len(args.cluster) <= 200 or not args.cluster.isprintable():
        raise BadInput(f"--cluster {args.cluster!r}: no name of a cluster")
    options = ApiOptions(args.kubeconfig, args.context)
    if args.objects is not None:
        if args.snapshot is not None or args.kubeconfig is not None or args.context is not None:
            raise BadInput("--objects reads files: it goes without --snapshot, --kubeconfig and --context")
        if not Path(args.objects).is_dir():
            raise BadInput(f"--objects {args.objects}: no such directory")
    else:
        try:
            read_config(options)
        except NoConfig as err:
            raise BadInput(str(err)) from None
    if args.snapshot is not None:
        return _snapshot(args, options)
    if args.server is None or args.token_file is None:
        raise BadInput("say --server and --token-file, or --snapshot FILE.nvz")
    server = server_options(args, cluster_source(args.cluster), None)

    async def work() -> None:
        await keep_informed(
            Watcher(args.cluster, lambda: Api(options))
            if args.objects is None
            else Folder(args.cluster, Path(args.objects)),
            server,
        )

    return run_until_signalled(work(), verbose=args.verbose)


async def keep_informed(source: ObjectsSource, server: TransportOptions) -> None:
    """Follow the objects, and tell a server from when each kind was listed or couldn't be, until cancelled."""
    transport = Transport(server, source)
    source.sink = transport
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(source.run())
        await source.ready.wait()
        await transport.run()


def _snapshot(args: argparse.Namespace, options: ApiOptions) -> int:
    """List everything once, and write it. Exit status 1, and no file, when nothing could be listed."""
    if args.server is not None or args.token_file is not None:
        raise BadInput("--snapshot writes a file: it needs no --server and no --token-file")
    out = file_behind(args.snapshot)
    watcher = Watcher(args.cluster, lambda: Api(options))
    asyncio.run(watcher.list_once())
    state, troubles = watcher.state(), watcher.troubles
    for trouble in troubles.values():
        print(plain(f"not listed: {trouble}"), file=sys.stderr)
    if all(not getattr(state.objects, section) for section in OBJECT_SECTIONS) and troubles:
        return 1
    data = dump_nvz(state, (), time.time())
    partial = f"{out}.partial"
    with open(partial, "wb") as f:
        f.write(data)
    os.replace(partial, out)
    counts = ", ".join(f"{len(getattr(state.objects, one))} {one}" for one in OBJECT_SECTIONS)
    print(plain(f"{args.snapshot}: {counts}, {len(data)} bytes"), file=sys.stderr)
    return 0
