"""How `lab exec` gets into a place as its user would: a node with its processes, a pod with its names.

On a node, commands work that are meant for a real one's shell: they see its processes, so `nsenter -t PID`
finds its pods. In a pod, names of services are resolved by the cluster's own DNS.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from lab import control
from lab.cluster import Cluster, LabError
from lab.store import RESOLV_CONF

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PACKAGES = {
    "ping": "iputils-ping",
    "nc": "netcat-openbsd",
    "ip": "iproute2",
    "bridge": "iproute2",
    "ss": "iproute2",
    "nft": "nftables",
    "dig": "bind9-dnsutils",
    "nslookup": "bind9-dnsutils",
}
_OWN_PROC = 'mount -t proc proc /proc && exec "$@"'
_OWN_NAMES = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'


def command(cluster: Cluster, target: str, argv: Sequence[str]) -> list[str]:
    """Return the command line that runs a program (a shell if none is given) in a place. Raises: LabError."""
    wanted = list(argv) or [shutil.which("bash") or "sh"]
    if shutil.which(wanted[0], path=_PATH) is None:
        package = _PACKAGES.get(wanted[0], wanted[0])
        raise LabError(f"this machine has no {wanted[0]} (Debian, Ubuntu: apt-get install {package})")
    apart = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c"]
    if target in cluster.nodes:
        return [*_on_node(cluster, target), *apart, _OWN_PROC, "sh", *wanted]
    own = cluster.pods[target].resolv_conf if target in cluster.pods else ""
    names = cluster.directory / (own or RESOLV_CONF)
    if target in cluster.pods and names.exists():
        return cluster.command(target, [*apart, _OWN_NAMES, str(names), *wanted])
    return cluster.command(target, wanted)


def _on_node(cluster: Cluster, node: str) -> list[str]:
    try:
        client = control.connect(cluster.nodes[node].directory / "control")
    except OSError as error:
        raise LabError(f"{node} doesn't run") from error
    pid = client.peer_pid()
    client.close()
    if not pid:
        raise LabError(f"{node}'s processes are not seen from here")
    return ["nsenter", "--target", str(pid), "--net", "--pid", "--uts", "--"]
