"""What of a node's state, and of a cluster's objects, can be found: pods, namespaces, links, services, workloads."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from netviz.core.model.addr import format_ip, format_mac, format_prefix
from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.kubernetes import KubeService
from netviz.core.model.link import IFF_LOOPBACK
from netviz.core.sim.node_index import outside
from netviz.core.state.node import NetnsState, NodeState
from netviz.core.state.pods import joined, workload_of
from netviz.topology.objects import addr_order, netns_name
from netviz.topology.search.segment import Entry


def parts(state: NodeState) -> list[object]:
    """List the objects that a node's entries are made of: while they are the same ones, so are the entries."""
    spaces = ((ns.netns, ns.links, ns.addrs) for ns in state.netns.values())
    return [state.objects, *chain.from_iterable(spaces)]


def node_entry(state: NodeState) -> Entry:
    """The entry of a node itself: by its name, the addresses of its own namespace, its pods' ranges."""
    root, kube = state.root, state.objects.kube_nodes.get(state.node)
    addrs = _addrs(root) if root is not None else []
    ranges = [format_prefix(one.addr, one.prefixlen) for one in kube.pod_cidrs] if kube is not None else []
    return Entry("node", state.node, state.node, "node", state.node, tuple(dict.fromkeys((*addrs, *ranges))))


def node_entries(state: NodeState) -> Iterator[Entry]:
    """The entries of what is on a node."""
    pods, name = state.objects.kube_pods, state.node
    shown = {key: pods[pod] for pod, key in joined(state).items()}
    for key, ns in sorted(state.netns.items()):
        if outside(key):
            continue
        if not ns.netns.root:
            yield _space(ns, key)
        title = name if ns.netns.root else netns_name(ns)
        for link in ns.links.values():
            if not link.flags & IFF_LOOPBACK:
                at = str(LinkKey(key, link.ifindex))
                where = name if ns.netns.root else f"{title} on {name}"
                yield Entry("link", at, link.ifname, where, name, (format_mac(link.mac),) if link.mac else ())
    known = {pod.key for pod in shown.values()}
    for pod in pods.values():
        if pod.key not in known:
            how = "host network" if pod.host_network else pod.phase or "not shown"
            addrs = () if pod.host_network else tuple(map(format_ip, pod.ips))
            full = f"{pod.namespace}/{pod.name}"
            yield Entry("host-pod", full, full, f"{name}, {how}", name, (pod.name, *addrs))


def _space(ns: NetnsState, key: NetnsKey) -> Entry:
    pod, node, addrs = ns.netns.pod, key.node, _addrs(ns)
    if pod is None:
        return Entry("netns", str(key), netns_name(ns), node, node, tuple(addrs))
    return Entry("pod", str(key), f"{pod.namespace}/{pod.name}", node, node, (pod.name, *addrs))


def _addrs(ns: NetnsState) -> list[str]:
    own = (ns.links.get(addr.ifindex) for addr in ns.addrs.values())
    found = [
        addr
        for addr, link in zip(ns.addrs.values(), own, strict=True)
        if link is None or not link.flags & IFF_LOOPBACK
    ]
    return [format_ip(addr.addr) for addr in sorted(found, key=addr_order)]


def object_entries(state: NodeState) -> Iterator[Entry]:
    """The entries of a cluster's services, workloads, namespaces and policies."""
    objects = state.objects
    for service in objects.services.values():
        yield _service(service)
    found: dict[tuple[str, str, str], int] = {}
    for pod in objects.kube_pods.values():
        if (made := workload_of(pod, objects.workloads)) is not None:
            key = (made[0], pod.namespace, made[1])
            found[key] = found.get(key, 0) + 1
    for (kind, namespace, name), count in found.items():
        where = f"{kind}, {count} {'pod' if count == 1 else 'pods'}"
        full = f"{namespace}/{name}"
        yield Entry("workload", f"{kind}/{full}", full, where, "", (name, kind))
    for one in objects.kube_namespaces.values():
        yield Entry("namespace", one.name, one.name, "Kubernetes namespace", "", ())
    for policy in objects.network_policies.values():
        full = "/".join(policy.key)
        yield Entry("policy", full, full, "network policy", "", (policy.name,))
    for wide in objects.cluster_policies.values():
        full, where = "/".join(wide.key), f"for the whole cluster, {wide.tier} tier"
        yield Entry("policy", full, full, where, "", (wide.name, wide.kind))


def _service(service: KubeService) -> Entry:
    addrs = dict.fromkeys((*service.cluster_ips, *service.external_ips, *service.balancer_ips))
    ports = dict.fromkeys(str(port.node_port) for port in service.ports if port.node_port)
    full = f"{service.namespace}/{service.name}"
    shown = ", ".join(f"{port.port}/{port.protocol}" for port in service.ports[:3])
    where = f"{service.type} {shown}".strip()
    external = (service.external_name,) if service.external_name else ()
    return Entry("service", full, full, where, "", (service.name, *map(format_ip, addrs), *ports, *external))
