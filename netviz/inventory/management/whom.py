"""Whose collectors a command is about: a node's, or those that watch a cluster's API."""

from __future__ import annotations

from argparse import ArgumentParser

from netviz.inventory.service import DEFAULT_CLUSTER


def add_whom(parser: ArgumentParser) -> None:
    """Declare NODE or --watcher, one of which is needed, and --cluster."""
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument("node", metavar="NODE", nargs="?")
    whom.add_argument("--watcher", action="store_true", help="those that watch the cluster's API")
    parser.add_argument("--cluster", default=DEFAULT_CLUSTER, help="(default: %(default)s)")
