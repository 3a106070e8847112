"""What ADD answered, held to the specification and to what is in the container's namespace."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from lab.cni.conf import Json
from lab.cni.runtime import IFNAME, Attachment


class Added(msgspec.Struct, frozen=True):
    """What a container got: its addresses of each family (without prefix length), its link's MAC and kind."""

    addresses: dict[int, str]
    mac: str
    kind: str
    host_ifname: str


def links_of(netns: str | Path) -> list[dict[str, Any]]:
    """Read a namespace's links with their addresses."""
    done = subprocess.run(
        ["nsenter", f"--net={netns}", "--", "ip", "-json", "-details", "addr"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found


def take(result: Json, attachment: Attachment) -> Added:
    """Read what a container has got, as far as it is there."""
    link = next((one for one in links_of(attachment.netns) if one.get("ifname") == IFNAME), {})
    addresses: dict[int, str] = {}
    for one in _list(result.get("ips")):
        parsed = _interface(one.get("address"))
        if parsed is not None:
            addresses.setdefault(parsed.version, str(parsed.ip))
    host = next(
        (
            str(one.get("name"))
            for one in _list(result.get("interfaces"))
            if not one.get("sandbox") and str(one.get("name")).startswith("veth")
        ),
        "",
    )
    return Added(
        addresses, str(link.get("address", "")), str(link.get("linkinfo", {}).get("info_kind", "")), host
    )


def wrong_with(result: Json, attachment: Attachment, version: str) -> Iterator[str]:
    """Say what of a result isn't so, or isn't as the specification has it."""
    if result.get("cniVersion") != version:
        yield f"its answer has cniVersion {result.get('cniVersion')!r}, not {version!r} as it was asked"
    interfaces = _list(result.get("interfaces"))
    inside = [one for one in interfaces if one.get("sandbox")]
    if not any(one.get("name") == IFNAME and one["sandbox"] == attachment.netns for one in inside):
        yield f"its answer's interfaces have no {IFNAME} with sandbox {attachment.netns}"
    links = {one["ifname"]: one for one in links_of(attachment.netns)}
    link = links.get(IFNAME)
    if link is None:
        yield f"there is no {IFNAME} in the container"
        return
    if "UP" not in link.get("flags", []):
        yield f"{IFNAME} in the container is down"
    told = next((one for one in inside if one.get("name") == IFNAME), {})
    if told.get("mac") and str(told["mac"]).lower() != link.get("address"):
        yield f"its answer has the MAC {told['mac']} for {IFNAME}, which has {link.get('address')}"
    held = {f"{one['local']}/{one['prefixlen']}" for one in link.get("addr_info", [])}
    for one in _list(result.get("ips")):
        address = one.get("address")
        parsed = _interface(address)
        if parsed is None:
            yield f"its answer has the address {address!r}, which is none with a prefix length"
        elif str(parsed) not in held:
            yield f"its answer has the address {address}, which {IFNAME} in the container doesn't have"
        index = one.get("interface")
        if index is not None and not (isinstance(index, int) and 0 <= index < len(interfaces)):
            yield f"its answer gives {address} to interface number {index}, of {len(interfaces)}"
    if not _list(result.get("ips")):
        yield "its answer has no address"


def _list(value: object) -> list[Json]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _interface(text: object) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface | None:
    try:
        return ipaddress.ip_interface(text) if isinstance(text, str) and "/" in text else None
    except ValueError:
        return None
