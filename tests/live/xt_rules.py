"""Rules for tests: loading them on a lab cluster's nodes, and what services there lead to."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

from lab.cluster import Cluster
from lab.kubernetes.ports import Endpoint


def endpoints(cluster: Cluster, port: int, family: int = 4) -> dict[str, Endpoint]:
    """A service's endpoint at a port of each pod."""
    return {
        name: Endpoint(cluster.address_of(name, family), port, pod.node) for name, pod in cluster.pods.items()
    }


def restore(
    cluster: Cluster, node: str, text: str, *, legacy: bool = False, program: str = "iptables"
) -> None:
    """Load a ruleset on a node."""
    name = f"{program}-legacy-restore" if legacy else f"{program}-restore"
    run_on(cluster, node, [name], text)


def run_on(cluster: Cluster, node: str, argv: Sequence[str], text: str = "") -> str:
    """Run a program in a node's namespace. Raises: AssertionError with what it complained of."""
    done = subprocess.run(
        cluster.command(node, list(argv)), input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout


def destroy_sets(cluster: Cluster) -> None:
    """Remove all sets of node1, as soon as the kernel has let go of the rules that used them."""
    run_on(cluster, "node1", ["ipset", "flush"])  # a list of sets holds its members
    end = time.monotonic() + 10
    while cluster.exec("node1", ["ipset", "destroy"]).returncode != 0:
        assert time.monotonic() < end, "the sets stay in use"
        time.sleep(0.02)
