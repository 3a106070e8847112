"""What each fault teaches: how it comes about in real clusters, and what to look at once it is made.

Words of the target (NODE, OTHER, POD, ...) stand in both, as in a fault's summary.
"""

from __future__ import annotations

import msgspec


class Lesson(msgspec.Struct, frozen=True):
    """How a fault comes about, and what to watch: a sentence or two each."""

    cause: str
    watch: str


LESSONS: dict[str, Lesson] = {
    "duplicate-address": Lesson(
        "An address plugin lost its records (a deleted state directory, two daemons with one range) and gave an"
        " address a second time.",
        "POD and OTHER-POD on NODE. A trace to POD's address says that two pods have it.",
    ),
    "bridge-old-range": Lesson(
        "The cluster's pod range was changed, and the bridge of a node that wasn't rebooted kept the old address.",
        "NODE's bridge and its addresses. A trace from one of its pods to another node ends at the gateway that nobody is.",
    ),
    "too-wide-subnet": Lesson(
        "A configuration gives the pod the cluster's whole range (/16) in place of its node's (/24).",
        "POD's routes. A trace to a pod of another node goes to the bridge without a gateway, and no neighbour answers.",
    ),
    "pod-on-loopback": Lesson(
        "A debugging session, or an agent that crashed half-way, left a pod's address on a node's loopback.",
        "NODE's lo. A trace from NODE's pods to OTHER's first pod is taken in at NODE itself.",
    ),
    "bridge-port-down": Lesson(
        "Somebody set the wrong interface down, or a script for another host ran here.",
        "The link between POD and its bridge on NODE: it is dashed.",
    ),
    "wrong-peer": Lesson(
        "Two plugins are configured, and both make a bridge: the pod's link ended up on the other one.",
        "POD's link on NODE: it leads to a second bridge, on which there is nothing else.",
    ),
    "wrong-mtu": Lesson(
        "One pod was made with the settings of an overlay, the others without: an MTU of 1400 beside 1500.",
        "The MTU colours, and a trace from POD with 1420 bytes: small packets pass, so ping works and downloads hang.",
    ),
    "nic-mtu": Lesson(
        "A NIC was replaced, or its driver reset, and lost the MTU that the network expects.",
        "The MTU colours at NODE's eth0, and the largest packet that a trace to its pods says.",
    ),
    "cable-unplugged": Lesson(
        "A cable, a transceiver or a switch port died.",
        "NODE's NIC: no carrier. Its collector's connection in this demo doesn't cross that cable, so its data stays fresh.",
    ),
    "second-cable-unplugged": Lesson(
        "The NIC of the pods' own network lost its cable; the management network still works, so the node looks healthy.",
        "NODE's eth1. Its pods are cut off while node-to-node traffic works.",
    ),
    "cloned-mac": Lesson(
        "Virtual machines cloned from one image with a fixed MAC address.",
        "The NICs of NODE and OTHER: both have the same MAC, and the switch sends frames to one of them.",
    ),
    "xdp-drop": Lesson(
        "A test or a tool attached an XDP program and was killed before it took it off.",
        "The host end of POD's link. netviz sees that a program is there, not what it does: a trace says unknown.",
    ),
    "wrong-neighbour": Lesson(
        "Somebody pinned a neighbour's MAC, and the machine got a new NIC later.",
        "NODE's neighbours: the entry for OTHER is permanent and has a MAC that nobody has.",
    ),
    "wrong-second-neighbour": Lesson(
        "A pinned MAC on the pods' network outlived the NIC that had it.",
        "NODE's neighbours on eth1. Nodes reach each other over the first network, pods don't over the second.",
    ),
    "wrong-gateway-neighbour": Lesson(
        "A plugin writes the gateway's MAC into each pod, and the bridge got another one when it was made anew.",
        "POD's neighbours: the gateway's entry is permanent and differs from the bridge's MAC.",
    ),
    "wrong-pod-neighbour": Lesson(
        "An agent writes pods' MACs into the node, and kept that of the address's earlier owner.",
        "NODE's neighbours: the entry for POD differs from the pod's own MAC.",
    ),
    "route-missing": Lesson(
        "The routing agent (flannel, bird, a cloud controller) stopped before it wrote the route, or somebody flushed routes.",
        "NODE's routes. A trace from NODE's pods to OTHER's leaves by the default route, to the router.",
    ),
    "route-to-nobody": Lesson(
        "A node left the cluster, and a route by it stayed, more specific than the right one.",
        "NODE's routes to OTHER's pods: two fit, the longer prefix wins, and its gateway doesn't answer.",
    ),
    "blackhole-route": Lesson(
        "Address plugins park free blocks as blackhole routes; one was given to OTHER and the route stayed.",
        "NODE's routes. A trace to OTHER's pods ends at the blackhole, to some of them.",
    ),
    "route-loop": Lesson(
        "Two nodes learned the route to a third one from each other.",
        "A trace from NODE's pods to OTHER's: it crosses NODE and THIRD again and again, until its TTL is used up.",
    ),
    "gateway-missing": Lesson(
        "The plugin's configuration lacks the default route, or a container with NET_ADMIN deleted it.",
        "POD's routes: only its own subnet is there.",
    ),
    "forwarding-off": Lesson(
        "A hardening script or a sysctl file set ip_forward to 0 at the last reboot.",
        "NODE: its pods still reach each other on the bridge. A trace beyond ends at NODE's IP layer.",
    ),
    "bridge-forwarding-off": Lesson(
        "A sysctl file turns forwarding off for each interface by default, and the bridge was made after it.",
        "The sysctls of NODE's bridge. A trace from NODE's pods over IPv4 ends where it comes in by the bridge.",
    ),
    "reverse-path": Lesson(
        "A distribution's default is strict reverse-path filtering, and a stale host route makes the return path another one.",
        "A trace from POD to OTHER's pods: it ends on arrival at OTHER, at the reverse-path filter.",
    ),
    "policy-rule-missing": Lesson(
        "The rule that leads pods to the second network was made by hand, and not made again after a reboot.",
        "NODE's policy rules. Its pods' packets leave by eth0, and the other nodes drop them.",
    ),
    "leftover-route": Lesson(
        "A pod was deleted while its plugin was down: its link and host route stayed, and its address was given out again.",
        "OTHER: a link vethleft0 that leads to no pod, and the route to POD by it.",
    ),
    "proxy-arp-off": Lesson(
        "A sysctl file resets proxy_arp on all interfaces, and pods have a gateway that exists only by it.",
        "The host end of POD's link. A trace from POD ends at its first step: nobody answers for the gateway.",
    ),
    "vtep-wrong-mac": Lesson(
        "A node was rebuilt, its tunnel device got a new MAC, and another node's agent missed it.",
        "NODE's forwarding entries of the tunnel, and the tunnel between NODE and OTHER.",
    ),
    "vtep-wrong-remote": Lesson(
        "A node came back with another address, and the forwarding entry still names the old one.",
        "The tunnel colours: NODE's tunnel to OTHER leads to an address that no node has.",
    ),
    "vxlan-other-vni": Lesson(
        "One node was configured with another VNI, as happens when two clusters share a template.",
        "The tunnel colours: NODE has a VNI of its own.",
    ),
    "vxlan-port-blocked": Lesson(
        "A host firewall doesn't know the tunnel's UDP port.",
        "A trace to NODE's pods from another node: the outer packet is dropped at NODE.",
    ),
    "policy-stale-chain": Lesson(
        "The policy agent crashed between a pod's deletion and the removal of its chain; the address was given out again.",
        "A trace to POD from another node: a chain that names no living pod refuses it.",
    ),
    "policy-pod-missing": Lesson(
        "The policy agent on one node missed an event, and its set of allowed addresses is incomplete.",
        "A trace from POD to OTHER's pods: OTHER's rules refuse it, though the policy allows it.",
    ),
    "policy-drops-neighbours": Lesson(
        "A policy engine that writes default-deny for IPv6 must let neighbour discovery pass, and some forgot.",
        "POD over IPv6: the neighbour's entry on NODE turns to FAILED. IPv4 works.",
    ),
    "masquerade-between-pods": Lesson(
        "The masquerade rule's exception for the pod range is wrong or missing.",
        "A trace from NODE's pods to another node's: delivered, but with NODE's address as its source.",
    ),
    "masquerade-off": Lesson(
        "The masquerade agent didn't run, or its rule was flushed with the firewall's.",
        "A trace from NODE's pods to the outside: it leaves with an address that nobody outside can answer.",
    ),
    "snat-other-address": Lesson(
        "A rule rewrites to a fixed address, and the node got another one.",
        "A trace from NODE's pods to the outside: the source is an address that NODE doesn't have.",
    ),
    "drop-rule": Lesson(
        "Somebody blocked an address during an incident and forgot it; a pod has that address now.",
        "NODE's rules. A trace to POD names the rule that drops it.",
    ),
    "udp-drop-rule": Lesson(
        "A rule against floods drops large UDP datagrams, and hits DNS over EDNS, QUIC or a tunnel.",
        "A trace over UDP with 1420 bytes by NODE beside one with 100.",
    ),
    "raw-drop-by-source": Lesson(
        "A rule against spoofed addresses lists private ranges, and the pods' range is one of them.",
        "A trace from NODE's pods to OTHER's: it is dropped at OTHER before routing.",
    ),
    "both-backends": Lesson(
        "iptables-legacy and iptables-nft were both used on one node: each shows its own rules alone, the kernel asks both.",
        "NODE's rules: two sets of tables. What one tool lists isn't what drops the packet.",
    ),
    "chain-missing-for-pod": Lesson(
        "The policy agent restarted while the pod was made, and wrote no chain for its device.",
        "A trace to or from POD: it falls through to the chain for unknown interfaces, which drops.",
    ),
    "service-stale-endpoint": Lesson(
        "kube-proxy on one node stopped following the API: the endpoints it knows are of before.",
        "The service's page: NODE programs another endpoint than the other nodes.",
    ),
    "stale-conntrack": Lesson(
        "A client that always uses one UDP port keeps its translation alive, also after the endpoint is gone.",
        "POD's connections: one leads to an address that is no endpoint.",
    ),
    "doubled-endpoint": Lesson(
        "Two slices name one endpoint, and the proxy doesn't merge them.",
        "The service's page: one endpoint gets twice the share on NODE. Nothing fails.",
    ),
    "hairpin-off": Lesson(
        "The plugin's hairpin option is off for one port.",
        "A trace from POD to a service that it is behind: the branch that comes back to POD itself fails.",
    ),
    "bridge-nf-off": Lesson(
        "The br_netfilter module wasn't loaded when the sysctls were set.",
        "A trace from a pod of NODE to a service with an endpoint on NODE: the answer passes no rule on the bridge.",
    ),
    "dns-wrong-server": Lesson(
        "The kubelet's clusterDNS was changed, or the DNS service was made anew with another address, while POD ran.",
        "The problems: POD asks another address than the other pods. Its inspector has what its resolv.conf says.",
    ),
    "dns-udp-blocked": Lesson(
        "A hardening script forbids DNS to any server but the company's own, and forgets the cluster's.",
        "A trace from a pod of NODE to the DNS service by UDP port 53: a rule drops it. By TCP, and by ping, it arrives.",
    ),
    "listener-gone": Lesson(
        "The program crashed, or listens on another port than the service says.",
        "POD's sockets. A trace to it arrives, and nothing listens.",
    ),
    "listener-on-loopback": Lesson(
        "The program's default is to listen on 127.0.0.1.",
        "POD's sockets: the address before the port is 127.0.0.1.",
    ),
    "listener-without-ipv6": Lesson(
        "The program listens on 0.0.0.0, and clients use the pod's IPv6 address.",
        "POD's sockets: 0.0.0.0, and none on ::.",
    ),
}
