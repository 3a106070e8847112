"""kube-proxy in nftables mode: the tables `ip kube-proxy` and `ip6 kube-proxy`.

Chains carry the service's and the endpoint's name (service-HASH-NAMESPACE/NAME/PROTOCOL/PORT,
endpoint-HASH-...__ADDRESS/PORT); elements of the maps of services without endpoints have a comment.
"""

from __future__ import annotations

import re

from netviz.core.model.netfilter import NFPROTO_IPV4, NFPROTO_IPV6, SetBody
from netviz.core.sim.kubernetes.seen import Rule, Seen
from netviz.core.sim.kubernetes.service import Service
from netviz.core.sim.nft_sets import lookup_set

TABLE = "kube-proxy"
_CHAIN = re.compile(
    r"^(?P<kind>service|endpoint|external|firewall)-[A-Z0-9]{8}-"
    r"(?P<name>[a-z0-9.-]+/[a-z0-9.-]+)/(?P<proto>tcp|udp|sctp)/(?P<port>[a-z0-9-]*)(?P<rest>__.*)?$"
)
_DNAT = re.compile(r"dnat to (\S+)")
_NO_ENDPOINTS = re.compile(r"@(no-endpoint-(?:services|nodeports))")
_COMMENT = re.compile(r"^(?P<name>[a-z0-9.-]+/[a-z0-9.-]+)(?::(?P<port>[a-z0-9-]+))?$")


def rules(seen: Seen) -> str:
    """Say what kube-proxy's nftables rules that matched mean, or ""."""
    if seen.table not in (("ip", TABLE), ("ip6", TABLE)) or not seen.rules:
        return ""
    found = Service()
    for rule in seen.rules:
        _read(found, rule)
        map_name = _NO_ENDPOINTS.search(rule.text)
        if map_name is not None:
            _without_endpoints(seen, found, map_name[1])
    if found.name:
        return found.phrase(seen)
    last = seen.deciding
    return _own_chain(last) if last is not None else ""


def _read(found: Service, rule: Rule) -> None:
    """Take in what one rule tells of the service."""
    for name in (rule.chain, rule.target):
        chain = _CHAIN.match(name)
        if chain is None:
            continue
        found.name, found.port = chain["name"], chain["port"]
        if chain["kind"] == "external" and not found.reached_by:
            found.reached_by = "an external address"
        if chain["kind"] == "firewall" and rule.text.endswith("drop"):
            found.refused = "whose load balancer doesn't take this source"
    if "@service-nodeports" in rule.text:
        found.reached_by = "its node port"
    if rule.target == "mark-for-masquerade":
        found.masquerades = True
    if "@affinity-" in rule.text and rule.target.startswith("endpoint-"):
        found.sticky = True
    dnat = _DNAT.search(rule.text)
    if dnat is not None and rule.chain.startswith("endpoint-"):
        found.endpoint = dnat[1]


def _without_endpoints(seen: Seen, found: Service, name: str) -> None:
    """Find the element that refused the packet; its comment names the service."""
    packet = seen.step.packet
    family = NFPROTO_IPV6 if packet.ipv6 else NFPROTO_IPV4
    record = seen.ns.nft_sets.get((family, TABLE, name))
    body = seen.cluster.bodies.get(record.body) if record is not None and record.body else None
    if record is None or not isinstance(body, SetBody):
        return
    key = bytes([packet.proto, 0, 0, 0]) + packet.dport.to_bytes(2, "big") + bytes(2)
    elem = lookup_set(record, body, packet.dst + key if name == "no-endpoint-services" else key)
    said = _COMMENT.match(elem.comment) if elem is not None else None
    if elem is None or said is None:
        return
    found.name, found.port = said["name"], said["port"] or ""
    local = not elem.chain
    found.refused = "which has no endpoints on this node" if local else "which has no endpoints"
    if name == "no-endpoint-nodeports":
        found.reached_by = "its node port"


def _own_chain(rule: Rule) -> str:
    """Say what a rule of kube-proxy that isn't for one service does."""
    if rule.chain == "masquerading" and "masquerade" in rule.text:
        return "kube-proxy's masquerading of service traffic"
    if rule.chain == "cluster-ips-check":
        if "@cluster-ips" in rule.text:
            return "kube-proxy's refusal of a port that the service of this address doesn't have"
        return "kube-proxy's drop of what goes to a service address that no service has"
    return ""
