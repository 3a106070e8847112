"""A CNI network's configuration: a list of plugins (*.conflist), or one plugin (*.conf).

What differs from node to node is written as ${NAME} and filled in for each (`of_node`): the ranges of its pods,
its share of the underlay's addresses, where leases are kept.

Source: the CNI specification 1.1.0, section 1, github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from lab import plan
from lab.spec import LabError, NodeState

Json = dict[str, Any]
VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
# Each node's share of the underlay, for pods that are on it: so many addresses, from the first one's number on.
_SHARE, _FIRST_SHARE = 20, 100
_FIELD = re.compile(r"\$\{([^}]*)\}")


class ConfError(LabError):
    """A configuration that can't be used; the text says what to change."""


class Network(msgspec.Struct, frozen=True):
    """A network: its name, the version of the specification that it is written for, its plugins in order."""

    name: str
    version: str
    plugins: tuple[Json, ...]
    disable_check: bool = False
    disable_gc: bool = False

    def speaks(self, version: str) -> bool:
        """Tell whether it is written for this version of the specification or a later one."""
        return VERSIONS.index(self.version) >= VERSIONS.index(version)

    @property
    def types(self) -> list[str]:
        """The plugins that it calls itself, and those that give addresses for them."""
        named = [plugin["type"] for plugin in self.plugins]
        return list(
            dict.fromkeys(named + [p["ipam"]["type"] for p in self.plugins if p.get("ipam", {}).get("type")])
        )

    @property
    def maps_ports(self) -> bool:
        """Whether one of its plugins maps ports of the node."""
        return any(plugin.get("capabilities", {}).get("portMappings") for plugin in self.plugins)


def of_node(node: NodeState, state: Path) -> dict[str, str]:
    """What a configuration may leave open, for a node: name -> value. Leases are kept in a folder of `state`."""
    first = _FIRST_SHARE + _SHARE * (node.index - 1)
    values = {"NODE": node.name, "DATA_DIR": str(state / "ipam")}
    for family, underlay, router in ((4, plan.UNDERLAY4, plan.ROUTER4), (6, plan.UNDERLAY6, plan.ROUTER6)):
        wire = ipaddress.ip_network(underlay)
        values |= {
            f"POD_CIDR{family}": node.pod_cidr(family),
            f"UNDERLAY{family}": underlay,
            f"UNDERLAY{family}_FIRST": str(wire[first]),
            f"UNDERLAY{family}_LAST": str(wire[first + _SHARE - 1]),
            f"ROUTER{family}": router,
        }
    return values


def differs_by_node(text: str) -> bool:
    """Tell whether a configuration's nodes get ranges of their own."""
    return bool(re.search(r"\$\{(POD_CIDR|UNDERLAY)[46]", text))


def parse(text: str, values: Mapping[str, str]) -> Network:
    """Fill in a configuration and read it. Raises: ConfError."""
    for name in _FIELD.findall(text):
        if name not in values:
            raise ConfError(
                f"${{{name}}} isn't known; there are: {', '.join(f'${{{one}}}' for one in sorted(values))}"
            )
    try:
        made = json.loads(_FIELD.sub(lambda match: values[match[1]], text))
    except ValueError as error:
        raise ConfError(f"it is no JSON: {error}") from error
    if not isinstance(made, dict):
        raise ConfError("it is no JSON object; a configuration has cniVersion, name and plugins")
    name, version = made.get("name"), made.get("cniVersion")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfError(
            f"the network's name is {name!r}; write a name of letters, digits, dots, dashes and underscores"
        )
    if version not in VERSIONS:
        raise ConfError(f"cniVersion is {version!r}; write one of {', '.join(VERSIONS)}")
    listed = made.get("plugins", [made] if "type" in made else None)
    if not isinstance(listed, list) or not listed:
        raise ConfError('it has no plugins; write "plugins": [...], or the "type" of a single one')
    for plugin in listed:
        if not isinstance(plugin, dict) or not isinstance(plugin.get("type"), str) or "/" in plugin["type"]:
            raise ConfError(
                'each of plugins is an object with the "type" of a program in the plugins\' folder'
            )
    plugins = tuple(_with_leases(plugin, values) for plugin in listed)
    return Network(name, version, plugins, made.get("disableCheck") is True, made.get("disableGC") is True)


def _with_leases(plugin: Json, values: Mapping[str, str]) -> Json:
    """Keep host-local's leases where those of the run are, unless the configuration says where."""
    ipam = plugin.get("ipam")
    if isinstance(ipam, dict) and ipam.get("type") == "host-local" and "dataDir" not in ipam:
        return {**plugin, "ipam": {**ipam, "dataDir": values["DATA_DIR"]}}
    return plugin
