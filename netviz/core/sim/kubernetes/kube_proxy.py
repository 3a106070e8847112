"""kube-proxy in iptables and ipvs mode: chains KUBE-*, ipsets KUBE-*, the device kube-ipvs0.

In iptables mode rules are commented ("default/web:http cluster IP", "default/web:http ->
10.244.2.2:8080"); in ipvs mode the ipset that matched tells what kind of service traffic it is.
"""

from __future__ import annotations

import re
from functools import partial

from netviz.core.model.addr import format_ip
from netviz.core.model.netfilter import NFPROTO_IPV4, NFPROTO_IPV6, ChainBody
from netviz.core.sim.kubernetes.seen import Seen, SeenRule
from netviz.core.sim.kubernetes.service import NOT_TAKEN, Service
from netviz.core.sim.nft.index import chain_index
from netviz.core.sim.nft.written import written
from netviz.core.sim.packet import PROTO_NAMES
from netviz.core.sim.steps import Nat

# "NAMESPACE/NAME:PORT cluster IP"; the port may be absent, the rest says how the service was reached.
_SERVICE = re.compile(
    r"^(?P<name>[a-z0-9.-]+/[a-z0-9.-]+)(?::(?P<port>[a-z0-9-]*))?"
    r"(?: (?:(?P<how>cluster IP|external IP|loadbalancer IP|has no endpoints|has no local endpoints"
    r"|traffic not accepted by) ?(?:KUBE-FW-[A-Z0-9]+)?"
    r"|-> (?P<endpoint>\S+)))?$"
)
_FOR = re.compile(
    r"^(?:masquerade|route LOCAL|pod) traffic for (?P<name>[a-z0-9.-]+/[a-z0-9.-]+?)(?::(?P<port>[a-z0-9-]+))? "
)
_DNAT = re.compile(r"-j DNAT --to-destination (\S+)")
_SET = re.compile(r"--match-set (KUBE-[A-Z0-9-]+)")
IPVS_DEVICE = "kube-ipvs0"
DEVICE_NAMES = (IPVS_DEVICE,)
_HOW = {"external IP": "its external address", "loadbalancer IP": "its load balancer's address"}
_REFUSED = {
    "has no endpoints": "which has no endpoints",
    "has no local endpoints": "which has no endpoints on this node",
    "traffic not accepted by": NOT_TAKEN,
}
_SETS = {
    "KUBE-CLUSTER-IP": "traffic to a service's cluster address",
    "KUBE-LOOP-BACK": "a pod that reaches itself through its service, masqueraded",
    "KUBE-EXTERNAL-IP": "traffic to a service's external address",
    "KUBE-EXTERNAL-IP-LOCAL": "traffic to a service's external address, for endpoints on this node",
    "KUBE-LOAD-BALANCER": "traffic to a service's load balancer address",
    "KUBE-LOAD-BALANCER-LOCAL": "traffic to a service's load balancer address, for endpoints on this node",
    "KUBE-NODE-PORT-TCP": "traffic to a service's node port",
    "KUBE-NODE-PORT-UDP": "traffic to a service's node port",
    "KUBE-NODE-PORT-LOCAL-TCP": "traffic to a service's node port, for endpoints on this node",
    "KUBE-NODE-PORT-LOCAL-UDP": "traffic to a service's node port, for endpoints on this node",
}


def rules(seen: Seen) -> str:
    """Say what kube-proxy's iptables rules that matched mean, or ""."""
    own = [rule for rule in seen.rules if rule.chain.startswith("KUBE-") or " KUBE-" in rule.text]
    last = seen.deciding
    if last is not None and not own and "has no" in last.comment:
        own = [last]  # without endpoints, old versions refuse in a chain of the kernel's own
    if not own:
        return ""
    if last is not None and last.chain == "KUBE-POSTROUTING" and "-j MASQUERADE" in last.text:
        if (kind := _set_meaning(last)) != "":
            return f"kube-proxy's, in ipvs mode: {kind}"
        return "kube-proxy's masquerading of service traffic"
    found = _service(own)
    if found.name:
        return found.phrase(seen)
    kind = next((said for rule in own if (said := _set_meaning(rule)) != ""), "")
    if kind:
        return f"kube-proxy's, in ipvs mode: {kind}"
    if last is not None and last.chain in ("KUBE-FORWARD", "KUBE-FIREWALL"):
        return _guard(last)
    return ""


def ipvs(seen: Seen) -> str:
    """Say what a service of IPVS is where kube-proxy made it, with its endpoints, or ""."""
    what = seen.step.what
    if not isinstance(what, Nat) or not what.servers or seen.link_named(IPVS_DEVICE) is None:
        return ""
    return f"a service of kube-proxy in ipvs mode, with {', '.join(seen.server(one.addr, one.port) for one in what.servers)}"


def _service(own: list[SeenRule]) -> Service:
    found = Service()
    for rule in own:
        said = next((m for text in rule.comments if (m := _SERVICE.match(text) or _FOR.match(text))), None)
        if said is not None:
            found.name, found.port = said["name"], said["port"] or found.port
            groups = said.groupdict()
            found.endpoint = groups.get("endpoint") or found.endpoint
            how = groups.get("how") or ""
            found.reached_by = _HOW.get(how, found.reached_by)
            found.refused = _REFUSED.get(how, found.refused)
        if rule.chain == "KUBE-NODEPORTS" and said is not None and not found.refused:
            found.reached_by = "its node port"
        if rule.target == "KUBE-MARK-MASQ":
            found.masquerades = True
        if rule.chain.startswith("KUBE-SVC-") and "-m recent" in rule.text and "--rcheck" in rule.text:
            found.sticky = True
        dnat = _DNAT.search(rule.text)
        if dnat is not None and rule.chain.startswith("KUBE-SEP-"):
            found.endpoint = dnat[1]
        if rule.chain.startswith("KUBE-FW-") and rule.text.lower().endswith("drop"):
            found.refused = NOT_TAKEN
    return found


def _set_meaning(rule: SeenRule) -> str:
    found = _SET.search(rule.text)
    return _SETS.get(found[1], "") if found is not None else ""


def _guard(rule: SeenRule) -> str:
    if rule.chain == "KUBE-FIREWALL":
        if "localnet" in rule.comment:
            return "Kubernetes' guard of the loopback addresses against other hosts"
        return "Kubernetes' drop of packets that are marked for it" if "mark" in rule.text else ""
    if "INVALID" in rule.text:
        return "kube-proxy's drop of packets that belong to no valid connection"
    return "kube-proxy's rule that lets service traffic be forwarded"


def service_at(seen: Seen, addr: bytes, proto: int, port: int) -> str:
    """Name the service that has an address and port, or the node port, by the rules that send to it, or ""."""
    family = NFPROTO_IPV6 if len(addr) == 16 else NFPROTO_IPV4
    for name, key in (("KUBE-SERVICES", ("dst", addr)), ("KUBE-NODEPORTS", ("dport", (proto, port)))):
        for chains in (seen.ns.nft_chains, seen.ns.xt_chains):
            record = chains.get((family, "nat", name))
            body = seen.cluster.bodies.get(record.body) if record is not None and record.body else None
            if not isinstance(body, ChainBody):
                continue
            index = chain_index(body, family)
            numbers = index.keyed.get(key, ()) if index is not None else range(len(body.rules))
            for number in numbers:
                legacy = chains is seen.ns.xt_chains
                rule = SeenRule(name, partial(written, body, number, family, legacy))
                if _sends(rule, addr, proto, port) and (found := _service([rule])).name:
                    return found.phrase(seen)
    return ""


def _sends(rule: SeenRule, addr: bytes, proto: int, port: int) -> bool:
    """Tell whether a rule is for exactly this address (where it names one), protocol and port."""
    wanted = [f" --dport {port} ", f"-p {PROTO_NAMES.get(proto, proto)} "]
    if rule.chain == "KUBE-SERVICES":
        wanted.append(f"-d {format_ip(addr)}/")
    return all(part in rule.text for part in wanted)


def device(seen: Seen) -> str:
    """Say what kube-proxy's device is for, or ""."""
    if seen.step.dev == IPVS_DEVICE and seen.link is not None and seen.link.kind == "dummy":
        return "where kube-proxy, in ipvs mode, keeps the services' addresses"
    return ""
