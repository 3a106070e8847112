"""Network policy agents' chains: where a packet that is dropped has been denied, and isn't lost.

Recognised are Calico's (Felix's chains of workloads, policies and profiles), kube-router's and those of the lab. A check of a
packet's source (cali-rpfilter, cali-rpf-skip) is no policy.
"""

from __future__ import annotations

from netviz.core.sim.steps import HookVerdict
from netviz.core.sim.trace import Step

# How the names begin of the chains that an agent makes for workloads and policies.
CHAINS = (
    *("cali-tw-", "cali-fw-", "cali-pi-", "cali-po-", "cali-pri-", "cali-pro-"),
    *("KUBE-POD-FW-", "KUBE-NWPLCY-"),
)
LAYERS = ("filter-", "mangle-", "raw-")


def denied_by_policy(step: Step) -> bool:
    """Tell whether a step is a policy agent's refusal."""
    what = step.what
    if not isinstance(what, HookVerdict) or what.action not in ("drop", "reject") or what.hit is None:
        return False
    return is_policy_chain(what.hit.within)


def is_policy_chain(name: str) -> bool:
    """Tell whether a chain is one that a policy agent makes for workloads and policies."""
    for layer in LAYERS:
        name = name.removeprefix(layer)
    return name.startswith(CHAINS)
