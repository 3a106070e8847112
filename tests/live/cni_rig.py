"""Pods of a lab cluster plugged in by the real CNI plugins instead of the lab's own bridge.

The pods' processes and listeners stay: what the lab had plugged in is taken away, and the plugins are
called as a runtime calls them. Addresses come from host-local, in the order of the pods: the lab's own.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.cluster import Cluster
from tests.live.xt_rules import run_on

BIN = Path("/usr/lib/cni")
NETWORK = "nv-net"
Config = Mapping[str, Any]


def strip(cluster: Cluster) -> None:
    """Take away what the lab plugged in: the pods' links, the bridges, the nodes' rules for IPv4."""
    for pod in cluster.pods:
        run_on(cluster, pod, ["ip", "link", "del", "eth0"])
    for node in cluster.nodes:
        run_on(cluster, node, ["ip", "link", "del", "cni0"])
        for table in ("nv-masq", "nv-filter"):
            run_on(cluster, node, ["nft", "delete", "table", "ip", table])


def call(cluster: Cluster, pod: str, config: Config) -> Any:
    """Call one plugin to add a pod to a network; returns its result."""
    env = {
        **os.environ,
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": f"id-{pod}",
        "CNI_NETNS": str(cluster.netns_of(pod)),
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(BIN),
    }
    argv = cluster.command(cluster.pod(pod).node, [str(BIN / config["type"])])
    done = subprocess.run(
        argv, input=json.dumps(config), capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 0, f"{config['type']}: {done.stdout} {done.stderr}"
    return json.loads(done.stdout)


def plug(cluster: Cluster, pod: str, plugins: Sequence[Config]) -> Any:
    """Call a network's plugins in order for a pod, each with the result of the one before."""
    result = None
    for plugin in plugins:
        config = {"cniVersion": "0.4.0", "name": NETWORK, **plugin}
        if result is not None:
            config["prevResult"] = result
        result = call(cluster, pod, config)
    return result


def local_ipam(subnet: str, directory: Path, **more: Any) -> dict[str, Any]:
    """host-local's configuration, with its store in a directory of the test's."""
    routes = [{"dst": "0.0.0.0/0"}]
    return {"type": "host-local", "subnet": subnet, "dataDir": str(directory), "routes": routes, **more}


def host_ports(*mappings: tuple[int, str], **more: Any) -> dict[str, Any]:
    """portmap's configuration: (host port, protocol) to 8080."""
    made = [{"hostPort": port, "containerPort": 8080, "protocol": proto} for port, proto in mappings]
    capabilities = {"portMappings": True}
    return {"type": "portmap", "capabilities": capabilities, "runtimeConfig": {"portMappings": made}, **more}
