"""Values as a trace shows them, and the templates that sentences and commands are made of.

A template is a format string over a step: `{dev}` is its device, other names are the decision's fields or, where it has
none of that name, the packet's. A function of the step stands where a template isn't enough.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

from netviz.core.model.addr import format_ip, format_mac
from netviz.core.model.conntrack import CtTuple
from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.plain import is_sysctl, quoted, runnable
from netviz.core.sim.packet import IPPROTO_ICMP, IPPROTO_ICMPV6, PROTO_NAMES, Packet
from netviz.core.sim.steps import Copy, Decision, Place
from netviz.core.sim.trace import Step

Template = str | Callable[[Step], str]
Templates = Mapping[tuple[type[Decision], str], Template]
Writer = Callable[[Step], str]
_NAME = re.compile(r"\{(\w+)\}")
MAC_BYTES = 6


def sentence(template: Template, kind: type[Decision]) -> Writer:
    """Make what writes a template for steps of a kind. Raises: AttributeError for a name that stands for nothing."""
    return _writer(template, kind, show)


def command(template: Template, kind: type[Decision]) -> Writer:
    """Make what writes a command for steps of a kind: the names that it holds as a shell takes them. Raises as `sentence` does."""
    write = _writer(template, kind, lambda value: quoted(str(show(value))))
    if isinstance(template, str) and not is_sysctl(template):
        return write
    return lambda step: runnable(write(step))


def _writer(template: Template, kind: type[Decision], form: Callable[[Any], Any]) -> Writer:
    if not isinstance(template, str):
        return template
    names, write = _NAME.findall(template), _NAME.sub("{}", template).format
    if not names:
        return lambda _step: template
    # "seq", which has no place in the template, makes it return a tuple where there is one name
    values_of = attrgetter(*(_path(name, kind) for name in names), "seq")
    return lambda step: write(*map(form, values_of(step)))


def _path(name: str, kind: type[Decision]) -> str:
    """Say where in a step is what a name stands for: the device, a field of the decision, of the packet."""
    if name == "dev":
        return name
    if hasattr(kind, name):
        return f"what.{name}"
    getattr(Packet, name)
    return f"packet.{name}"


def show(value: Any) -> Any:
    """Return a value as text or number: addresses, keys, places, tuples; lists of them."""
    written = WRITTEN.get(type(value))
    return value if written is None else written(value)


def _address(value: bytes) -> str:
    if not value:
        return "an empty address"
    return format_mac(value) if len(value) == MAC_BYTES else format_ip(value)


def tuple_text(t: CtTuple) -> str:
    """Write a conntrack tuple."""
    proto = PROTO_NAMES.get(t.proto, str(t.proto))
    if t.proto in (IPPROTO_ICMP, IPPROTO_ICMPV6):
        return f"{proto} {format_ip(t.src)} > {format_ip(t.dst)} id {t.sport} type {t.dport >> 8}"
    return f"{proto} {format_ip(t.src)}:{t.sport} > {format_ip(t.dst)}:{t.dport}"


def place(where: Place) -> str:
    """Say where something is: in which pod, node or namespace."""
    if where.pod:
        return f"pod {where.pod}"
    if where.root:
        return f"node {where.netns.node}"
    return f"namespace {where.name or where.netns}"


def short(where: Place) -> str:
    """Name a pod, namespace or node, without saying which of them it is."""
    return where.pod or where.name or where.netns.node


def endpoint(addr: bytes, port: int) -> str:
    """Write an address with a port, as IPVS and sockets are listed."""
    return f"{format_ip(addr)}:{port}"


def listed(names: tuple[str, ...]) -> str:
    """Write names in a row."""
    return ", ".join(names)


def copy_text(copy: Copy) -> str:
    """Name where a copy goes."""
    if copy.link is not None:
        return str(copy.link)
    return format_ip(copy.addr) or copy.ifname or "?"


WRITTEN: dict[type, Callable[[Any], Any]] = {
    CtTuple: tuple_text,
    LinkKey: str,
    NetnsKey: str,
    Place: place,
    bytes: _address,
    tuple: lambda values: [show(one) for one in values],
}
