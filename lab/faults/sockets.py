"""Faults of listeners: gone, or bound to the wrong address."""

from __future__ import annotations

from lab.changes import Changes
from lab.faults.model import ALL, Effect, Target, fault


@fault(
    "listener-gone",
    "sockets",
    "nothing listens in POD: connections are refused, datagrams come back as port unreachable, ping works",
    uses=("pod",),
    kinds=ALL,
    blame=("pod", ""),
    affects=(Effect("any", "POD"),),
)
def _listener_gone(changes: Changes, target: Target) -> None:
    changes.set_listening(target.need_pod().name, 0)


@fault(
    "listener-on-loopback",
    "sockets",
    "POD's server listens on 127.0.0.1 alone: in the pod itself it answers, everybody else is refused",
    uses=("pod",),
    kinds=ALL,
    blame=("pod", "lo"),
    affects=(Effect("any", "POD"),),
)
def _listener_on_loopback(changes: Changes, target: Target) -> None:
    changes.set_listening(target.need_pod().name, 0)
    changes.set_listening(target.need_pod().name, 1, "::ffff:127.0.0.1")


@fault(
    "listener-without-ipv6",
    "sockets",
    "POD's server listens on 0.0.0.0, which is IPv4 alone: connections over IPv6 are refused",
    uses=("pod",),
    kinds=ALL,
    blame=("pod", ""),
    affects=(Effect("any", "POD", families=(6,)),),
)
def _listener_without_ipv6(changes: Changes, target: Target) -> None:
    changes.set_listening(target.need_pod().name, 0)
    changes.set_listening(target.need_pod().name, 1, "::ffff:0.0.0.0")
