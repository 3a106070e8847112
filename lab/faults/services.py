"""Faults of services: what a node's rules or bridge does with them."""

from __future__ import annotations

from lab import plan
from lab.changes import Changes
from lab.faults.model import BRIDGED, BY_NODES, DNS, FLOW_PORT, Effect, Target, fault
from lab.flows import Flow
from lab.kubernetes import shapes

_LAST_INDEX = 250


@fault(
    "service-stale-endpoint",
    "services",
    "NODE's rules lead the service to a pod that is gone: from NODE and its pods it isn't reached, from"
    " everywhere else it is",
    kinds=BY_NODES,
    blame=("node", ""),
    affects=(Effect("NODE+NODE.pods", "SERVICE"),),
    needs_services=True,
)
def _stale_endpoint(changes: Changes, target: Target) -> None:
    node = target.node
    gone = " ".join(plan.pod_address(node.pod_cidr(family), _LAST_INDEX) for family in node.families)
    changes.misdirect_service(node.name, target.need_service(), gone)


@fault(
    "stale-conntrack",
    "conntrack",
    "NODE's conntrack still leads what POD asks the DNS service from UDP port 40053 to an endpoint on OTHER that"
    " is gone, though the rules name those that are there: that flow gets no answer as long as POD sends at least"
    " every 30 s; from other ports and pods the service works",
    uses=("pod", "other"),
    kinds=BY_NODES,
    blame=("node", ""),
    affects=(Effect("POD", "DNS", sport=FLOW_PORT),),
    needs_services=True,
)
def _stale_conntrack(changes: Changes, target: Target) -> None:
    pod, other = target.need_pod(), target.need_other()
    gone = " ".join(plan.pod_address(other.pod_cidr(family), _LAST_INDEX) for family in other.families)
    pinned = [
        Flow(pod.address(family), FLOW_PORT, address, shapes.DNS_PORT)
        for family, address in target.dns.items()
    ]
    changes.pin_flows(pod.name, DNS, gone, pinned)


@fault(
    "doubled-endpoint",
    "services",
    "NODE's rules list the service's first endpoint twice: of what NODE and its pods send to the service it gets"
    " twice the share of each other one; nothing fails, but that pod is busier than the others",
    kinds=BY_NODES,
    blame=("node", ""),
    affects=(),
    needs_services=True,
)
def _doubled_endpoint(changes: Changes, target: Target) -> None:
    changes.double_endpoint(target.node.name, target.need_service())


@fault(
    "hairpin-off",
    "services",
    "the port of POD on its node's bridge sends nothing back by where it came from: whenever a service leads"
    " POD to itself, it gets no answer",
    uses=("pod",),
    kinds=BRIDGED,
    blame=("node", "veth"),
    affects=(Effect("POD", "SERVICE", sometimes=True),),
    needs_services=True,
)
def _hairpin_off(changes: Changes, target: Target) -> None:
    target.need_service()
    changes.set_hairpin(target.node.name, target.need_pod().host_ifname, 0)


@fault(
    "bridge-nf-off",
    "sysctls",
    "what NODE's bridge passes on goes by no rule: whenever a service leads a pod to another one of its own"
    " node, the answer comes from an address that it never asked",
    kinds=BRIDGED,
    blame=("node", "bridge"),
    affects=(Effect("NODE.pods", "SERVICES", sometimes=True),),
    needs_services=True,
)
def _bridge_nf_off(changes: Changes, target: Target) -> None:
    target.need_service()
    for family in target.node.families:
        name = "ip6tables" if family == 6 else "iptables"
        changes.set_sysctl(target.node.name, f"bridge/bridge-nf-call-{name}", 0)


@fault(
    "dns-wrong-server",
    "dns",
    "POD's resolv.conf names an address that nobody has, as when the kubelet's clusterDNS was another one as POD"
    " began: POD resolves no names, and all else works",
    uses=("pod",),
    kinds=BY_NODES,
    blame=("pod", ""),
    affects=(),
    needs_services=True,
)
def _wrong_server(changes: Changes, target: Target) -> None:
    changes.set_nameserver(target.need_pod().name, plan.unused_service(4))


@fault(
    "dns-udp-blocked",
    "dns",
    "a rule on NODE drops what its pods send to UDP port 53: they resolve no names, and all else works",
    kinds=BY_NODES,
    blame=("node", ""),
    affects=(Effect("NODE.pods", "DNS"), Effect("NODE.pods", "DNS", sport=FLOW_PORT)),
    needs_services=True,
)
def _udp_blocked(changes: Changes, target: Target) -> None:
    node = target.node
    lines = ["type filter hook prerouting priority filter;"]
    for family in node.families:
        lines.append(
            f"ip{'6' if family == 6 else ''} saddr {node.pod_cidr(family)} udp dport 53 counter drop;"
        )
    body = f"chain names {{ {' '.join(lines)} }}"
    changes.add_nft_table(node.name, "inet nv-hardening", body)
