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
import os
import subprocess
from pathlib import Path
from typing import Any

from lab import plan, xtables
from lab.echo import PORT
from lab.fabric import Site
from lab.kinds.base import Kind
from lab.rtnl import Rtnl
from lab.spec import ClusterSpec, LabError, NodeState, Pod

BIN = Path("/usr/lib/cni")
NETWORK = "lab-net"
HOST_PORT = 18080
_VERSION = "1.0.0"
_AGENT = '-m comment --comment "ip-masq-agent: {}"'
_FIRST_INDEX = 2
Json = dict[str, Any]


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
        (where / "results").mkdir()
        made = {"cniVersion": _VERSION, "name": NETWORK, "plugins": _plugins(self.variant(spec), where, node)}
        (where / "net.d/10-lab.conflist").write_text(json.dumps(made, indent=1))
        if self.variant(spec) == "bridge":
            for family in node.families:
                xtables.restore(site.root(node), family, _masquerading(site, family))

    def plug(self, site: Site, spec: ClusterSpec, node: NodeState, pod: Pod, rtnl: Rtnl) -> None:
        """Have every plugin of the list add the pod, each with the result of the one before."""
        with Rtnl(site.netns(node, pod.name)) as inside:
            inside.set_up(1)
        result: Json | None = None
        for plugin in _listed(site, node):
            result = json.loads(_call(site, node, pod, "ADD", plugin, result))
        assert result is not None
        (_folder(site, node) / "results" / pod.name).write_text(json.dumps(result))
        for link in result["interfaces"]:
            if link.get("sandbox"):
                pod.mac = link["mac"]
            elif link["name"].startswith("veth"):
                pod.host_ifname = link["name"]

    def unplug(self, site: Site, spec: ClusterSpec, node: NodeState, pod: Pod, rtnl: Rtnl) -> None:
        """Have them delete it, the last one first."""
        kept = _folder(site, node) / "results" / pod.name
        result = json.loads(kept.read_text())
        for plugin in reversed(_listed(site, node)):
            _call(site, node, pod, "DEL", plugin, result)
        kept.unlink()


def _own_chain(pod: Pod) -> str:
    """Name the chain in which ipMasq has a pod's rules. Source: plugins/pkg/utils/utils.go FormatChainName()."""
    return f"CNI-{hashlib.sha512((NETWORK + pod.uid).encode()).hexdigest()}"[:28]


def _folder(site: Site, node: NodeState) -> Path:
    return site.directory / node.name / "cni"


def _listed(site: Site, node: NodeState) -> list[Json]:
    found: list[Json] = json.loads((_folder(site, node) / "net.d/10-lab.conflist").read_text())["plugins"]
    return found


def _plugins(variant: str, where: Path, node: NodeState) -> list[Json]:
    ranges = [[{"subnet": node.pod_cidr(family)}] for family in node.families]
    routes = [{"dst": plan.default(family)} for family in node.families]
    ipam = {"type": "host-local", "dataDir": str(where / "ipam"), "ranges": ranges, "routes": routes}
    if variant == "ptp":
        first: Json = {"type": "ptp", "ipMasq": True, "ipam": ipam}
    else:
        first = {"type": "bridge", "bridge": Cni.bridge, "isGateway": True, "hairpinMode": Cni.hairpin}
        first |= {"ipMasq": variant == "bridge-masq", "ipam": ipam}
    found = [first, {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}]
    return found if variant == "ptp" else [*found, {"type": "firewall", "backend": "iptables"}]


def _call(site: Site, node: NodeState, pod: Pod, command: str, plugin: Json, result: Json | None) -> str:
    """Call one plugin as the CNI specification says, and return what it prints. Raises: LabError."""
    config: Json = {"cniVersion": _VERSION, "name": NETWORK, **plugin}
    ips = [f"{pod.address(family)}/{plan.prefixlen(node.pod_cidr(family))}" for family in pod.families]
    config["args"] = {"cni": {"ips": ips}}
    if plugin.get("capabilities", {}).get("portMappings"):
        ports = [{"hostPort": pod.host_port, "containerPort": PORT, "protocol": p} for p in ("tcp", "udp")]
        config["runtimeConfig"] = {"portMappings": ports if pod.host_port else []}
    if result is not None:
        config["prevResult"] = result
    env = {
        **os.environ,
        "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": pod.uid,
        "CNI_NETNS": str(site.netns(node, pod.name)),
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(BIN),
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod.name}",
    }
    argv = ["nsenter", f"--net={site.root(node)}", "--", str(BIN / plugin["type"])]
    done = subprocess.run(argv, input=json.dumps(config), capture_output=True, text=True, env=env, timeout=60)
    if done.returncode:
        said = " ".join((done.stdout or done.stderr).split())
        raise LabError(f"{plugin['type']} {command} of {pod.name}: {said}")
    return done.stdout


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
