"""Whether the API and each node agree on which pods are there.

Only while the list of pods is whole and followed: otherwise the API says what was, and the node what is.
"""

from __future__ import annotations

from collections.abc import Iterator

from netviz.core.check.fact import Fact, Look
from netviz.core.check.problem import Affects, Command, Problem, Where
from netviz.core.check.text import command, place
from netviz.core.check.wiring import who
from netviz.core.model.kubernetes import KubePod
from netviz.core.plain import quoted
from netviz.core.sim.trace import pod_name
from netviz.core.state.naming import API, ENDED
from netviz.core.state.node import NetnsState
from netviz.core.state.pods import condition, joined

NEEDS = ("links", "addrs")
# Between a kubelet's word and a collector's there are the runtime's answer and two networks.
RUNNING_GRACE_S = 20.0
# A pod that is scheduled has its namespace within a second, where nothing is in its way.
PENDING_GRACE_S = 60.0
# The API forgets a pod when its kubelet says that it ended, which may be before the runtime has cleaned up.
ENDED_GRACE_S = 60.0


def _find(look: Look) -> Iterator[Problem]:
    node, objects = look.node, look.node.objects
    if node.node not in objects.kube_nodes:
        return
    look.judged = len(objects.kube_pods)
    if look.api.doubt:
        look.unknown[look.api.doubt] = None
        return
    shown = joined(node)
    for key, pod in sorted(objects.kube_pods.items()):
        if key not in shown and not pod.host_network and not pod.deleting and pod.phase not in ENDED:
            yield _not_shown(look, pod)
    known = set(shown.values())
    for ns in look.pods:
        if ns.key not in known and ns.netns.pod is not None and ns.netns.pod.source != API:
            yield _not_in_api(look, ns)


def _rests_on(look: Look) -> tuple[tuple[str, str], ...]:
    return (*look.rests_on(), *((source, "kube_pods") for source in look.api.sources))


def _not_shown(look: Look, pod: KubePod) -> Problem:
    node, name = look.node.node, f"{pod.namespace}/{pod.name}"
    running = pod.phase == "Running"
    ready = condition(pod.conditions, "Ready")
    why = f" ({pod.waits})" if pod.waits else ""
    return Problem(
        kind="pod-not-shown",
        cause=f"{name} {pod.uid}",
        severity="warning",
        harm="not known" if running else "breaks traffic",
        headline=(
            f"{node} shows no network namespace of pod {name}, which is {'ready' if ready else 'running'} there by the API"
            if running
            else f"Pod {name} has no network namespace on {node}, where it is to run{why}"
        ),
        consequence=(
            "netviz can't say how it is connected: its collector can't see it, or doesn't know whose namespace it is."
            if running
            else "The runtime or the network plugin hasn't made it yet: the kubelet's log and the pod's events say why."
        ),
        where=Where(node),
        affects=Affects(pods=(name,)),
        check=(
            Command(node, "", f"crictl pods --namespace {quoted(pod.namespace)} --name {quoted(pod.name)}"),
        ),
        rests_on=_rests_on(look),
        grace_s=RUNNING_GRACE_S if running else PENDING_GRACE_S,
    )


def _not_in_api(look: Look, ns: NetnsState) -> Problem:
    node, pod = look.node.node, ns.netns.pod
    assert pod is not None
    other = look.node.objects.kube_pods.get((pod.namespace, pod.name))
    return Problem(
        kind="pod-not-in-api",
        cause=f"{pod_name(ns.netns)} {pod.uid}",
        severity="warning",
        harm="at risk",
        headline=f"{who(ns.netns)} on {node} is no pod of the API's"
        + (", which has another one of that name there" if other is not None else ""),
        consequence="It was deleted and its namespace is still there: it keeps its address, and what it sends and gets nobody manages.",
        where=place(ns.netns),
        affects=Affects(pods=(pod_name(ns.netns),)),
        check=(
            command(ns.netns, "ip addr"),
            Command(node, "", f"crictl pods --namespace {quoted(pod.namespace)} --name {quoted(pod.name)}"),
        ),
        rests_on=_rests_on(look),
        grace_s=ENDED_GRACE_S,
    )


FACT = Fact(
    name="presence",
    demands="Every pod of the API's is shown by its node, and no node shows others.",
    unit="pods",
    kinds=("pod-not-shown", "pod-not-in-api"),
    needs=NEEDS,
    reads=("kube_pods",),
    find=_find,
    watches_health=True,
)
