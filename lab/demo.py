"""`make demo`: an emulated cluster, a server, a collector for each node, until Ctrl-C.

Where it runs decides how:
- as root, the lab's namespaces are made next to the host's own;
- as an ordinary user, the same program runs again inside a user namespace of its own, with its own
  network, mounts and processes. The port is opened before that, in the host's network, and handed
  down, so that the page is reached at the usual address;
- where neither is allowed, or off Linux, a recorded capture of the lab is replayed.

Whatever ends the demo, nothing stays behind: its processes end with it, and the next run sweeps
what a killed one left.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from lab import kinds, privileges, userns
from lab.spec import LabError
from lab.stack import WATCHER, Stack, StackError
from netviz.core.plain import plain

RECORDINGS = Path(__file__).resolve().parent / "recordings"
CLUSTER_NAME = "demo"
DATA_PREFIX = "netviz-demo-"


def say(text: str) -> None:
    """Show progress on standard error, so that standard output has only the READY line."""
    print(plain(f"  {text}"), file=sys.stderr, flush=True)


def listen(port: int) -> socket.socket:
    """Open the page's port. Exits with status 2 and one line when it is taken."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", port))
    except OSError as err:
        print(
            f"demo: port {port} of 127.0.0.1: {err.strerror}; choose another: make demo PORT=8001",
            file=sys.stderr,
        )
        sys.exit(2)
    sock.listen(128)
    return sock


def may_build() -> bool:
    """Tell whether this process may make the lab's namespaces itself (root in a container may not)."""
    try:
        privileges.require()
    except LabError:
        return False
    return True


def bring_loopback_up() -> None:
    """A new network namespace's loopback is down, and the collectors reach the server through it."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@contextmanager
def live_lab(options: argparse.Namespace, desk: Path) -> Iterator[tuple[dict[str, list[str]], Path]]:
    """The emulated cluster: node name -> its collector's arguments, and the folder of the API's lists.

    `desk` is where the page's server has faults made and mended; those that are left go with the cluster.
    """
    from lab import cluster as lab_cluster
    from lab.faultdesk import FaultDesk
    from lab.traffic import Traffic

    lab_cluster.sweep()
    nodes, pods, kind = options.nodes, options.pods, options.kind
    spec = lab_cluster.ClusterSpec(CLUSTER_NAME, nodes=nodes, pods=pods, kind=kind, services=options.services)
    say(f"lab: {kind}, {nodes} nodes with {pods} pods each, {options.services} services and DNS")
    with lab_cluster.Cluster.up(spec, progress=say) as cluster, Traffic(cluster), FaultDesk(cluster, desk):
        collectors = {node.name: node.collector_args() for node in cluster.nodes.values()}
        yield collectors, cluster.site.directory / "objects"


def make_data_dir() -> tuple[Path, int]:
    """Make the folder of this demo's data, and hold its lock for as long as the demo lives."""
    path = Path(tempfile.mkdtemp(prefix=DATA_PREFIX))
    lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return path, lock


def sweep_data() -> None:
    """Remove the data of demos of this user that were killed: nobody holds their lock any more."""
    for path in Path(tempfile.gettempdir()).glob(f"{DATA_PREFIX}*"):
        try:
            lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if os.fstat(lock).st_uid == os.getuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)


def why_no_lab() -> str | None:
    """Why an emulated cluster can't be built here; None when it can."""
    if sys.platform != "linux":
        return f"this is {sys.platform}, and the lab needs Linux"
    missing = [tool for tool in ("ip", "nft") if shutil.which(tool) is None]
    if missing:
        return f"{' and '.join(missing)} not found (Debian: apt-get install iproute2 nftables)"
    if not may_build() and not userns.works():
        return "you may not make namespaces here, and this system allows you no user namespace"
    return None


def serve(stack: Stack, *, is_recording: bool = False) -> NoReturn:
    """Start the stack, print the READY line, and watch it until a signal comes."""
    access = stack.start(progress=say)
    say(f"logs are in {stack.data_dir}")
    print(
        f"READY {access.url} user={access.user} password={access.password} token={access.token}", flush=True
    )
    say("open that page and log in; click a pod, then shift-click another one to trace the path")
    if not is_recording:
        say(
            "to break something: Faults, on the page; or in a second terminal: .venv/bin/python -m lab break --list"
        )
        say("to run a node's command: .venv/bin/python -m lab exec node1 -- COMMAND (also in a pod: web-1)")
    say("Ctrl-C ends the demo and removes everything")
    while True:
        assert stack.server is not None
        stack.server.check()
        for node in stack.lost_collectors():
            what = "the watcher" if node == WATCHER else f"the collector of {node}"
            say(f"{what} ended ({stack.data_dir / node}.log says why); the demo goes on without it")
        time.sleep(0.5)


def stop_on_signal(signum: int, frame: object) -> None:
    """Turn SIGTERM and SIGINT into an orderly end, once.

    Ctrl-C on a terminal brings both at nearly the same time. One that has arrived already finds a
    handler that does nothing; Python complains when it finds that the signal is ignored by now.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    raise KeyboardInterrupt


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m lab.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8000, help="the page's port on 127.0.0.1")
    parser.add_argument("--kind", choices=kinds.KINDS, default="textbook", help="the sort of network")
    parser.add_argument("--services", type=int, default=2, help="services besides DNS")
    parser.add_argument("--nodes", type=int, default=3, help="emulated nodes")
    parser.add_argument("--pods", type=int, default=5, help="pods on each node")
    parser.add_argument(
        "--replay", action="store_true", help="replay the recorded lab even where a live one could run"
    )
    parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if not (1 <= options.nodes <= 200 and 0 <= options.pods <= 200):
        parser.error("between 1 and 200 nodes and at most 200 pods on each")
    return options


def main(argv: list[str]) -> int:
    """Run the demo; the exit status."""
    options = parse(argv)
    reason = "--replay was given" if options.replay else why_no_lab()
    sock = socket.socket(fileno=options.fd) if options.fd is not None else listen(options.port)
    if reason is None and not may_build():
        inner = [sys.executable, "-m", "lab.demo", *argv, "--fd", str(sock.fileno())]
        return userns.run(inner, sock.fileno())
    if options.fd is not None:
        bring_loopback_up()
    inherited: int | None = None
    if options.fd is not None:
        inherited = sock.fileno()
    else:
        sock.close()  # it proved that the port is free; the server opens it itself
    signal.signal(signal.SIGTERM, stop_on_signal)
    signal.signal(signal.SIGINT, stop_on_signal)
    sweep_data()
    data_dir, lock = make_data_dir()
    try:
        if reason is None:
            os.environ["NETVIZ_ENTER"] = f".venv/bin/python -m lab exec --cluster {CLUSTER_NAME} {{name}} --"
            desk = data_dir / "faults"
            with (
                live_lab(options, desk) as (collectors, objects),
                Stack(collectors, data_dir, options.port, inherited, objects=objects, faults=desk) as stack,
            ):
                serve(stack)
        else:
            say(f"no live lab: {reason}")
            say("replaying a recorded one instead: the data is real, but nothing will change")
            recorded = {path.stem: [str(path), "--hold"] for path in sorted(RECORDINGS.glob("*.nvr"))}
            with Stack(recorded, data_dir, options.port, inherited, command="replay") as stack:
                serve(stack, is_recording=True)
    except KeyboardInterrupt:
        say("ended; everything was removed")
        return 0
    except (StackError, LabError) as err:
        for line in f"demo: {err}".split("\n"):
            print(plain(line), file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
        os.close(lock)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
