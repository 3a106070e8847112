"""kube-proxy in nftables mode: the tables `ip kube-proxy` and `ip6 kube-proxy`.

Chains carry the service's name (service-HASH-NAMESPACE/NAME/PROTOCOL/PORT, local-... for endpoints of the node);
elements of the maps of services without endpoints have a comment. Up to Kubernetes 1.33 each endpoint has a chain
(endpoint-HASH-...__ADDRESS/PORT) and what is to be masqueraded goes through mark-for-masquerade; since then a map
in the service's chain translates at once (the translation's own step names the endpoint), and comments say
what is masqueraded.
"""

from __future__ import annotations

import re

from netviz.core.model.netfilter import NFPROTO_IPV4, NFPROTO_IPV6, SetElem
from netviz.core.sim.kubernetes.seen import Seen, SeenRule
from netviz.core.sim.kubernetes.service import NOT_TAKEN, Service
from netviz.core.sim.nft.elements import find_elem

TABLE = "kube-proxy"
_CHAIN = re.compile(
    r"^(?P<kind>service|local|endpoint|external|firewall)-[A-Z0-9]{8}-"
    r"(?P<name>[a-z0-9.-]+/[a-z0-9.-]+)/(?P<proto>tcp|udp|sctp)/(?P<port>[a-z0-9-]*)(?P<rest>__.*)?$"
)
_DNAT = re.compile(r"dnat (?:ip6? )?to (\S+)")
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


def _read(found: Service, rule: SeenRule) -> None:
    """Take in what one rule tells of the service."""
    for name in (rule.chain, rule.target):
        chain = _CHAIN.match(name)
        if chain is None:
            continue
        found.name, found.port = chain["name"], chain["port"]
        if chain["kind"] == "external" and not found.reached_by:
            found.reached_by = "an external address"
        if chain["kind"] == "firewall" and rule.text.endswith("drop"):
            found.refused = NOT_TAKEN
    if "@service-nodeports" in rule.text:
        found.reached_by = "its node port"
    if rule.target == "mark-for-masquerade" or rule.comment.startswith("masquerade"):
        found.masquerades = True
    if "@affinity-" in rule.text and rule.target.startswith("endpoint-"):
        found.sticky = True
    dnat = _DNAT.search(rule.text)
    if dnat is not None and rule.chain.startswith("endpoint-"):
        found.endpoint = dnat[1]


def _without_endpoints(seen: Seen, found: Service, name: str) -> None:
    """Find the element that refused the packet; its comment names the service."""
    packet = seen.step.packet
    elem = _element(seen, name, packet.dst, packet.proto, packet.dport)
    said = _COMMENT.match(elem.comment) if elem is not None else None
    if elem is None or said is None:
        return
    found.name, found.port = said["name"], said["port"] or ""
    local = not elem.chain
    found.refused = "which has no endpoints on this node" if local else "which has no endpoints"
    if name == "no-endpoint-nodeports":
        found.reached_by = "its node port"


def _element(seen: Seen, name: str, addr: bytes, proto: int, port: int) -> SetElem | None:
    """Look up one of kube-proxy's maps: by address, protocol and port, or for node ports by the last two."""
    family = NFPROTO_IPV6 if len(addr) == 16 else NFPROTO_IPV4
    key = bytes([proto, 0, 0, 0]) + port.to_bytes(2, "big") + bytes(2)
    data = key if name.endswith("nodeports") else addr + key
    return find_elem(seen.ns, (family, TABLE, name), data, bodies=seen.cluster.bodies)


def service_at(seen: Seen, addr: bytes, proto: int, port: int) -> str:
    """Name the service that has an address and port, or the node port, or ""."""
    for name in ("service-ips", "service-nodeports"):
        elem = _element(seen, name, addr, proto, port)
        chain = _CHAIN.match(elem.chain) if elem is not None else None
        if chain is not None:
            found = Service(chain["name"], chain["port"])
            found.reached_by = "its node port" if name == "service-nodeports" else ""
            return found.phrase(seen)
    return ""


def _own_chain(rule: SeenRule) -> str:
    """Say what a rule of kube-proxy that isn't for one service does."""
    if rule.chain == "masquerading" and "masquerade" in rule.text:
        return "kube-proxy's masquerading of service traffic"
    if rule.chain == "cluster-ips-check":
        if "@cluster-ips" in rule.text:
            return "kube-proxy's refusal of a port that the service of this address doesn't have"
        return "kube-proxy's drop of what goes to a service address that no service has"
    return ""
