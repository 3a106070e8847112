"""What isn't modelled, in words."""

from __future__ import annotations

from netviz.core.model.addr import format_ip
from netviz.core.plain import quoted
from netviz.core.sim.steps import Opaque
from netviz.core.sim.trace import Step
from netviz.core.sim.words.neigh import request_name
from netviz.core.sim.words.show import Templates, listed

# What isn't followed through a device of a kind.
DOES = {
    "tun": "hands the packet to the program that holds it, which may do anything with it",
    "netkit": "gives the packet to the BPF programs at its end first, and which those are is not in the state",
    "ifb": "gets packets from tc redirects and gives them back by rules of its own",
    "team": "is a team: a program decides by which port frames go",
    "nlmon": "copies netlink messages and has no other end",
    "openvswitch": "forwards by Open vSwitch's flows, which are not in the state",
}


def _opaque(step: Step) -> Opaque:
    assert isinstance(step.what, Opaque)
    return step.what


def _program(step: Step) -> str:
    return f"{listed(_opaque(step).names)} is attached to {step.dev} and may do anything with the packet."


def _device(step: Step) -> str:
    kind = _opaque(step).device_kind
    does = DOES.get(kind, f"is a {kind} device; what it does with the packet is not modelled")
    return f"{step.dev} {does}."


def _bond(step: Step) -> str:
    return f"{step.dev} is a bond in mode {listed(_opaque(step).names)}, which is not modelled."


def _returns(step: Step) -> str:
    what = _opaque(step)
    return (
        f"The {request_name(what.nexthop)} for {format_ip(what.nexthop)} comes back by {listed(what.names)}: where the "
        "bridge then has its sender depends on what is faster."
    )


def _through(step: Step) -> str:
    what = _opaque(step)
    return (
        f"The {request_name(what.nexthop)} for {format_ip(what.nexthop)} also goes through what is not modelled: "
        f"{listed(what.names)}."
    )


STATE = "the state contradicts itself or lacks a part ({error})"


def _filter(step: Step) -> str:
    if any(name.startswith(("tcx/", "xdp ", "netkit/")) for name in _opaque(step).names):
        return f"bpftool net show dev {quoted(step.dev)}"
    return f"tc filter show dev {quoted(step.dev)} {'ingress' if _opaque(step).receiving else 'egress'}"


WHY: Templates = {
    (Opaque, "program"): _program,
    (Opaque, "device"): _device,
    (Opaque, "macvtap"): "{upper} is a macvtap: the frame goes to the program that holds it.",
    (Opaque, "ipvtap"): "{upper} is an ipvtap: the packet goes to the program that holds it.",
    (Opaque, "bond mode"): _bond,
    (
        Opaque,
        "flow offload",
    ): "The flow is in the flow table of {dev}: its packets pass the hooks by.",
    (Opaque, "request that returns"): _returns,
    (Opaque, "request through"): _through,
    (Opaque, "state"): f"The walk cannot go on: {STATE}.",
}

UNKNOWN: Templates = {
    (Opaque, "program"): lambda step: f"{listed(_opaque(step).names)} on {step.dev}",
    (Opaque, "device"): "{device_kind} device",
    (Opaque, "macvtap"): "macvtap device",
    (Opaque, "ipvtap"): "ipvtap device",
    (Opaque, "bond mode"): lambda step: f"bond in mode {listed(_opaque(step).names)}",
    (Opaque, "flow offload"): "flow offload",
    (Opaque, "request that returns"): "request that comes back by a tunnel",
    (Opaque, "request through"): lambda step: f"resolution through {listed(_opaque(step).names)}",
    (Opaque, "state"): STATE,
}

COMMANDS: Templates = {
    (Opaque, "program"): _filter,
    (Opaque, "device"): "ip -d link show dev {dev}",
    (Opaque, "macvtap"): "ip -d link show dev {upper}",
    (Opaque, "ipvtap"): "ip -d link show dev {upper}",
    (Opaque, "bond mode"): "ip -d link show master {dev}",
    (Opaque, "flow offload"): "nft list flowtables",
    (Opaque, "request that returns"): "ip neigh get {nexthop} dev {dev}",
    (Opaque, "request through"): "ip neigh get {nexthop} dev {dev}",
}
