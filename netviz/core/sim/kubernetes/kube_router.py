"""kube-router's network policies: a chain for each pod (KUBE-POD-FW-HASH) that runs through one for each policy.

The rules that lead there name the pod and the policy in comments. A pod's chain outlives the pod where kube-router did
not clean up: its address may be another pod's by then, and the comment says whom the rule was for.
"""

from __future__ import annotations

import re

from netviz.core.model.addr import format_ip
from netviz.core.sim.kubernetes.seen import Seen

_POD_CHAIN, _POLICY_CHAIN = (
    re.compile(r"^KUBE-POD-FW-[A-Z0-9]{16}$"),
    re.compile(r"^KUBE-NWPLCY-[A-Z0-9]{16}$"),
)
_POD = re.compile(
    r"traffic (?P<way>destined (?:to|for)|from) POD name:(?P<name>\S+) namespace: ?(?P<namespace>\S+)"
)
_POLICY = re.compile(r"run through nw policy (\S+)")


def rules(seen: Seen) -> str:
    """Say what kube-router's rule that decided means, or ""."""
    last = seen.deciding
    if last is None or not (_POD_CHAIN.match(last.chain) or _POLICY_CHAIN.match(last.chain)):
        return ""
    said = " ".join(comment for rule in seen.rules for comment in rule.comments)
    named = list(_POD.finditer(said))
    if not named:
        return ""
    found = named[-1]
    pod = f"{found['namespace']}/{found['name']}"
    packet, inbound = seen.step.packet, found["way"] != "from"
    addr = packet.dst if inbound else packet.src
    policies = ", ".join(dict.fromkeys(_POLICY.findall(said)))
    traffic = f"traffic {'to' if inbound else 'from'} pod {pod}"
    if seen.step.action in ("drop", "reject"):
        phrase = f"kube-router's refusal of {traffic}, which none of its network policies allows"
    else:
        phrase = f"kube-router's rule for {traffic}, by its network policies"
    phrase += f" ({policies})" if policies else ""
    owner = seen.owner(addr)
    if owner.startswith("pod ") and not owner.startswith(f"pod {pod} "):
        return f"{phrase}; but {format_ip(addr)} is {owner} now, so the rule is stale"
    return phrase
