"""The real CNI plugins, called as a container runtime calls them, from a network's configuration list.

The list of each node is in its folder cni/net.d; what the plugins answered for a pod is kept in
cni/results, as a runtime keeps it, because DEL wants it back. Addresses are the lab's own plan, which
host-local is asked for. Variants:

- `bridge`: bridge without ipMasq (so pods see each other's own addresses), portmap, firewall; what
  leaves the cluster is masqueraded by a chain as ip-masq-agent's;
- `bridge-masq`: bridge with ipMasq: between nodes, too, a pod's source becomes its node's address;
- `ptp`: ptp instead of a bridge, with ipMasq, portmap.

The first pod of a node has a host port: 18080 of the node leads to its port 8080.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from lab import plan, xtables
from lab.cni.conf import Json, of_node, parse
from lab.cni.runtime import Attachment, Runtime
from lab.echo import PORT
from lab.fabric import Site
from lab.kinds.base import Kind
from lab.rtnl import Rtnl
from lab.spec import ClusterSpec, LabError, NodeState, Pod

BIN = Path("/usr/lib/cni")
NETWORK = "lab-net"
HOST_PORT = 18080
_VERSION = "1.0.0"
_LIST = "net.d/10-lab.conflist"
_AGENT = '-m comment --comment "ip-masq-agent: {}"'
_FIRST_INDEX = 2


class Cni(Kind):
    """The reference CNI plugins."""

    name = "cni"
    summary = "the real CNI plugins: bridge or ptp, portmap, firewall"
    variants = ("bridge", "bridge-masq", "ptp")
    bridge = "cni0"
    hairpin = True

    def check(self, spec: ClusterSpec) -> None:
        """It needs the plugins and iptables. Raises: LabError, SpecError."""
        super().check(spec)
        xtables.require("iptables")
        for plugin in ("bridge", "ptp", "portmap", "firewall", "host-local"):
            if not (BIN / plugin).exists():
                raise LabError(
                    f"the kind cni needs {BIN / plugin} (Debian, Ubuntu: apt-get install containernetworking-plugins)"
                )

    def keeps_sources(self, spec: ClusterSpec) -> bool:
        """ipMasq rewrites the source of whatever leaves the node."""
        return self.variant(spec) == "bridge"

    def built_as(self, spec: ClusterSpec) -> str:
        """The plugin ptp makes what the kind ptp has."""
        return "ptp" if self.variant(spec) == "ptp" else self.name

    def rules_bridged(self, spec: ClusterSpec) -> bool:
        """Without a bridge nothing is bridged."""
        return self.variant(spec) != "ptp" and super().rules_bridged(spec)

    def masquerade_chains(self, spec: ClusterSpec, node: NodeState) -> list[str]:
        """ip-masq-agent's, or one of each pod's, named by network and container."""
        if self.variant(spec) == "bridge":
            return ["IP-MASQ-AGENT"]
        return [_own_chain(pod) for pod in node.pods.values()]

    def plan_pod(self, spec: ClusterSpec, node: NodeState, name: str) -> Pod:
        """Give the first pod a host port."""
        pod = super().plan_pod(spec, node, name)
        pod.host_port = HOST_PORT if pod.host_index == _FIRST_INDEX else 0
        return pod

    def build_node(self, site: Site, spec: ClusterSpec, node: NodeState) -> None:
        """Write the configuration list, and masquerade what leaves where no plugin does."""
        super().build_node(site, spec, node)
        where = _folder(site, node)
        (where / "net.d").mkdir(parents=True)
        made = {
            "cniVersion": _VERSION,
            "name": NETWORK,
            "plugins": _plugins(self.variant(spec), node.families),
        }
        (where / _LIST).write_text(json.dumps(made, indent=1))
        if self.variant(spec) == "bridge":
            for family in node.families:
                xtables.restore(site.root(node), family, _masquerading(site, family))

    def plug(self, site: Site, spec: ClusterSpec, node: NodeState, pod: Pod, rtnl: Rtnl) -> None:
        """Have every plugin of the list add the pod."""
        with Rtnl(site.netns(node, pod.name)) as inside:
            inside.set_up(1)
        result = _runtime(site, node).add(_attachment(site, node, pod))
        for link in result["interfaces"]:
            if link.get("sandbox"):
                pod.mac = link["mac"]
            elif link["name"].startswith("veth"):
                pod.host_ifname = link["name"]

    def unplug(self, site: Site, spec: ClusterSpec, node: NodeState, pod: Pod, rtnl: Rtnl) -> None:
        """Have them delete it, the last one first."""
        _runtime(site, node).delete(_attachment(site, node, pod))


def _own_chain(pod: Pod) -> str:
    """Name the chain in which ipMasq has a pod's rules. Source: plugins/pkg/utils/utils.go FormatChainName()."""
    return f"CNI-{hashlib.sha512((NETWORK + pod.uid).encode()).hexdigest()}"[:28]


def _folder(site: Site, node: NodeState) -> Path:
    return site.directory / node.name / "cni"


def _runtime(site: Site, node: NodeState) -> Runtime:
    where = _folder(site, node)
    network = parse((where / _LIST).read_text(), of_node(node, where))
    return Runtime(site.root(node), network, BIN, where / "results")


def _attachment(site: Site, node: NodeState, pod: Pod) -> Attachment:
    ips = [f"{pod.address(family)}/{plan.prefixlen(node.pod_cidr(family))}" for family in pod.families]
    ports = [{"hostPort": pod.host_port, "containerPort": PORT, "protocol": p} for p in ("tcp", "udp")]
    return Attachment(
        pod.uid,
        str(site.netns(node, pod.name)),
        {"IgnoreUnknown": "1", "K8S_POD_NAMESPACE": "default", "K8S_POD_NAME": pod.name},
        {"cni": {"ips": ips}},
        ports if pod.host_port else [],
    )


def _plugins(variant: str, families: Sequence[int]) -> list[Json]:
    ranges = [[{"subnet": f"${{POD_CIDR{family}}}"}] for family in families]
    routes = [{"dst": plan.default(family)} for family in families]
    ipam = {"type": "host-local", "dataDir": "${DATA_DIR}", "ranges": ranges, "routes": routes}
    if variant == "ptp":
        first: Json = {"type": "ptp", "ipMasq": True, "ipam": ipam}
    else:
        first = {"type": "bridge", "bridge": Cni.bridge, "isGateway": True, "hairpinMode": Cni.hairpin}
        first |= {"ipMasq": variant == "bridge-masq", "ipam": ipam}
    found = [first, {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}]
    return found if variant == "ptp" else [*found, {"type": "firewall", "backend": "iptables"}]


def _masquerading(site: Site, family: int) -> str:
    ensure = _AGENT.format(
        "ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom IP-MASQ-AGENT chain"
    )
    local = _AGENT.format("local traffic is not subject to MASQUERADE")
    last = _AGENT.format("outbound traffic is subject to MASQUERADE (must be last in chain)")
    rules = [f"-A POSTROUTING {ensure} -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT"]
    for inside in (plan.pods_range(family), site.underlay(family)):
        rules.append(f"-A IP-MASQ-AGENT -d {inside} {local} -j RETURN")
    rules.append(f"-A IP-MASQ-AGENT {last} -j MASQUERADE")
    return xtables.table("nat", ["IP-MASQ-AGENT"], rules)
