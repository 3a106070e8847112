"""What the command line says about the node: checked, and made into collectors."""

from __future__ import annotations

import argparse
import os
import re

from agents.collectors.base import Collector
from agents.collectors.conntrack import Conntrack
from agents.collectors.ipvs import Ipvs
from agents.collectors.kernel_stats import KernelStats
from agents.collectors.netfilter import Netfilter
from agents.collectors.netns import NetnsOptions
from agents.collectors.pods import FileSource, Pods, PodSource
from agents.collectors.rtnl import Rtnl
from agents.collectors.sockets import Sockets
from agents.collectors.sysctl import Sysctls
from agents.kernel import Kernel

_NODE_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


class BadInput(Exception):
    """What the user gave cannot be used; the message is the one line they see."""


def add_node_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which node, and where its namespaces are."""
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


def node_options(args: argparse.Namespace, kernel: Kernel) -> NetnsOptions:
    """Check and gather what says where to look. Raises: BadInput."""
    if not _NODE_NAME.fullmatch(args.node):
        raise BadInput(f"--node {args.node!r}: use letters, digits, '-', '_' and '.'")
    if args.root_netns is not None:
        try:
            os.close(kernel.open_netns(args.root_netns))
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
        from agents.collectors.cri import CriSource

        sources.append(CriSource(args.cri))
    pods: list[Collector] = [Pods(sources)] if sources else []
    return [*pods, Rtnl(), Sysctls(), Sockets(), Netfilter(), Conntrack(), Ipvs(), KernelStats()]


def check_out(path: str) -> None:
    """Check that a file can be written there. Raises: BadInput."""
    directory = os.path.dirname(os.path.abspath(path))
    if not os.access(directory, os.W_OK):
        raise BadInput(f"--out {path}: cannot write to {directory}")


def file_behind(path: str) -> str:
    """Say which file a new one is to take the place of, behind links. Raises: BadInput when it is none."""
    target = os.path.realpath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        raise BadInput(f"--out {path}: not a regular file")
    check_out(target)
    return target
