"""Changes to a running cluster's kernel state that know how to undo themselves.

A `Changes` makes each change and notes its inverse as plain data, so that another process can undo
them later. Undoing runs in reverse order and forgives what somebody has already undone by hand.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lab import flows, netns, nft, xdp, xtables
from lab.cluster import Cluster
from lab.flows import Flow
from lab.kinds import vxlan
from lab.kinds.vxlan import Vxlan
from lab.kubernetes import agent
from lab.node import NodeDownError
from lab.rtnl import Rtnl
from lab.spec import Inverse

_FORGIVEN = {errno.EEXIST, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENODEV}


class Changes:
    """Makes changes in a cluster's namespaces and collects their inverses in `undo`.

    `target` is what `Cluster.netns_of` knows: a pod, a node, the router.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.undo: list[Inverse] = []

    @contextmanager
    def _rtnl(self, target: str) -> Iterator[Rtnl]:
        with Rtnl(self._cluster.netns_of(target)) as rtnl:
            yield rtnl

    def _note(self, op: Callable[..., None], **args: bool | int | str | None) -> None:
        given = {name: value for name, value in args.items() if value is not None}
        self.undo.append(Inverse(op.__name__, given))

    def revert(self, undo: list[Inverse]) -> None:
        """Undo changes, the last one first. Raises: OSError, NftError."""
        for inverse in reversed(undo):
            try:
                getattr(self, inverse.op)(**inverse.args)
            except (LookupError, NodeDownError):
                continue  # the link or node is gone, and what was set on it
            except OSError as error:
                if error.errno not in _FORGIVEN:
                    raise

    # -- routes, rules, addresses, neighbours, forwarding entries

    def add_route(self, target: str, dst: str, **route: Any) -> None:
        """Add a route, given as `Rtnl.add_route` takes it (`via`, `dev`, `table`, ...)."""
        with self._rtnl(target) as rtnl:
            rtnl.add_route(dst, **route)
        self._note(self.delete_route, target=target, dst=dst, **route)

    def delete_route(self, target: str, dst: str, **route: Any) -> None:
        """Delete a route."""
        with self._rtnl(target) as rtnl:
            rtnl.delete_route(dst, **route)
        self._note(self.add_route, target=target, dst=dst, **route)

    def add_rule(self, target: str, table: int, priority: int, src: str, dst: str) -> None:
        """Add a policy rule."""
        with self._rtnl(target) as rtnl:
            rtnl.add_rule(table, priority, src=src, dst=dst)
        self._note(self.delete_rule, target=target, table=table, priority=priority, src=src, dst=dst)

    def delete_rule(self, target: str, table: int, priority: int, src: str, dst: str) -> None:
        """Delete a policy rule."""
        with self._rtnl(target) as rtnl:
            rtnl.delete_rule(table, priority, src=src, dst=dst)
        self._note(self.add_rule, target=target, table=table, priority=priority, src=src, dst=dst)

    def add_addr(self, target: str, dev: str, cidr: str, broadcast: str = "", nodad: int = 1) -> None:
        """Add an address to a link."""
        with self._rtnl(target) as rtnl:
            rtnl.add_addr(rtnl.ifindex(dev), cidr, broadcast=broadcast, nodad=bool(nodad))
        self._note(self.delete_addr, target=target, dev=dev, cidr=cidr)

    def delete_addr(self, target: str, dev: str, cidr: str) -> None:
        """Remove an address from a link."""
        (link,) = json.loads(self._cluster.exec(target, ["ip", "-j", "addr", "show", "dev", dev]).stdout)
        found = (one for one in link["addr_info"] if f"{one['local']}/{one['prefixlen']}" == cidr)
        how: dict[str, Any] = next(found, {})
        with self._rtnl(target) as rtnl:
            rtnl.delete_addr(rtnl.ifindex(dev), cidr)
        shown = {"broadcast": how.get("broadcast", ""), "nodad": int(how.get("nodad", False))}
        self._note(self.add_addr, target=target, dev=dev, cidr=cidr, **shown)

    def set_neigh(self, target: str, dev: str, dst: str, mac: str, before: str = "") -> None:
        """Set a permanent neighbour entry, where there was the permanent one `before`, or none."""
        with self._rtnl(target) as rtnl:
            rtnl.replace_neigh(rtnl.ifindex(dev), dst, mac)
        if before:
            self._note(self.set_neigh, target=target, dev=dev, dst=dst, mac=before, before=mac)
        else:
            self._note(self.delete_neigh, target=target, dev=dev, dst=dst)

    def delete_neigh(self, target: str, dev: str, dst: str) -> None:
        """Delete a neighbour entry if there is one, so that it is resolved anew; undone by the same."""
        with self._rtnl(target) as rtnl:
            try:
                rtnl.delete_neigh(rtnl.ifindex(dev), dst)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise
        self._note(self.delete_neigh, target=target, dev=dev, dst=dst)

    def move_fdb(self, target: str, dev: str, mac: str, dst: str, before: str) -> None:
        """Have a VXLAN device send what is for `mac` to `dst` instead of `before`."""
        with self._rtnl(target) as rtnl:
            rtnl.delete_fdb(rtnl.ifindex(dev), mac, before)
            rtnl.add_fdb(rtnl.ifindex(dev), mac, dst)
        self._note(self.move_fdb, target=target, dev=dev, mac=mac, dst=before, before=dst)

    # -- links

    def set_up(self, target: str, dev: str, up: int) -> None:
        """Bring a link up (1) or down (0)."""
        with self._rtnl(target) as rtnl:
            rtnl.set_up(rtnl.ifindex(dev), bool(up))
        self._note(self.set_up, target=target, dev=dev, up=1 - up)

    def set_mtu(self, target: str, dev: str, mtu: int) -> None:
        """Set a link's MTU in bytes."""
        with self._rtnl(target) as rtnl:
            before = rtnl.mtu(dev)
            rtnl.set_link(rtnl.ifindex(dev), mtu=mtu)
        self._note(self.set_mtu, target=target, dev=dev, mtu=before)

    def forget_path_mtus(self) -> None:
        """When it is undone, have every namespace forget what it learned of paths' MTUs since."""
        self._note(self.flush_path_mtus)

    def flush_path_mtus(self) -> None:
        """Flush the cached routes of both families everywhere."""
        for target in (*self._cluster.nodes, *self._cluster.pods, "router", "internet"):
            for family in ("-4", "-6"):
                self._cluster.exec(target, ["ip", family, "route", "flush", "cache"])

    def add_bridge(self, target: str, dev: str, mac: str) -> None:
        """Make a bridge that is up."""
        with self._rtnl(target) as rtnl:
            rtnl.add_bridge(dev, mac)
        self._note(self.delete_link, target=target, dev=dev)

    def delete_link(self, target: str, dev: str) -> None:
        """Delete a link that a change made."""
        with self._rtnl(target) as rtnl:
            rtnl.delete_link(rtnl.ifindex(dev))

    def move_port(self, target: str, dev: str, master: str, before: str) -> None:
        """Make a link a port of the bridge `master` instead of the bridge `before`."""
        with self._rtnl(target) as rtnl:
            rtnl.set_link(rtnl.ifindex(dev), master=rtnl.ifindex(master))
            if self._cluster.kind.has_hairpin(self._cluster.state.spec):
                rtnl.set_port(rtnl.ifindex(dev), mode=1)
        self._note(self.move_port, target=target, dev=dev, master=before, before=master)

    def set_mac(self, target: str, dev: str, mac: str) -> None:
        """Set a link's MAC address."""
        with self._rtnl(target) as rtnl:
            before = rtnl.mac(dev)
            rtnl.set_link(rtnl.ifindex(dev), address=mac)
        self._note(self.set_mac, target=target, dev=dev, mac=before)

    def add_veth(self, target: str, dev: str, peer: str) -> None:
        """Make a veth pair inside one namespace, with its second end down."""
        path = self._cluster.netns_of(target)
        with Rtnl(path) as rtnl:
            rtnl.add_veth(dev, peer, path)
        self._note(self.delete_link, target=target, dev=dev)

    def attach_dropper(self, target: str, dev: str) -> None:
        """Attach an XDP program that drops all that comes in. Raises: LabError."""
        program = xdp.load_dropper()
        try:
            with self._rtnl(target) as rtnl:
                rtnl.set_xdp(rtnl.ifindex(dev), program)
        finally:
            os.close(program)
        self._note(self.detach_xdp, target=target, dev=dev)

    def detach_xdp(self, target: str, dev: str) -> None:
        """Detach what a change attached."""
        with self._rtnl(target) as rtnl:
            rtnl.set_xdp(rtnl.ifindex(dev), -1)

    def rebuild_tunnels(self, node: str, vni: int, before: int) -> None:
        """Make a node's VXLAN devices anew with another VNI, with all that belongs to them."""
        kind, nodes = self._cluster.kind, self._cluster.state.nodes
        assert isinstance(kind, Vxlan)
        where = nodes[node]
        with self._rtnl(node) as rtnl:
            for family in where.families:
                rtnl.delete_link(rtnl.ifindex(vxlan.device(family)))
        kind.make_tunnels(self._cluster.site, where, vni)
        kind.join(self._cluster.site, where, [other for other in nodes.values() if other is not where])
        self._note(self.rebuild_tunnels, node=node, vni=before, before=vni)

    # -- rules

    def insert_nft_rule(self, target: str, chain: str, rule: str) -> None:
        """Put a rule at the start of a chain, given as "FAMILY TABLE CHAIN"."""
        handle = nft.insert_rule(self._cluster.netns_of(target), chain, rule)
        self._note(self.delete_nft_rule, target=target, chain=chain, handle=handle)

    def delete_nft_rule(self, target: str, chain: str, handle: int) -> None:
        """Delete a rule that a change inserted."""
        nft.delete_rule(self._cluster.netns_of(target), chain, handle)

    def add_nft_table(self, target: str, table: str, body: str) -> None:
        """Add a table of nftables, given as "FAMILY NAME" and what stands between its braces."""
        nft.apply(self._cluster.netns_of(target), f"table {table} {{\n{body}\n}}\n")
        self._note(self.delete_nft_table, target=target, table=table)

    def delete_nft_table(self, target: str, table: str) -> None:
        """Delete a table that a change added."""
        nft.apply(self._cluster.netns_of(target), f"add table {table}\ndelete table {table}\n")

    def set_xt_chain(self, target: str, family: int, table: str, chain: str, rules: str) -> None:
        """Put rules, one a line as `iptables -S` writes them, in the place of those of iptables' own chain."""
        path = self._cluster.netns_of(target)
        before = xtables.rules_of(path, family, table, chain)
        xtables.restore(path, family, xtables.table(table, [chain], rules.splitlines()))
        self._note(
            self.set_xt_chain, target=target, family=family, table=table, chain=chain, rules="\n".join(before)
        )

    def set_xt_policy(self, target: str, program: str, chain: str, policy: str) -> None:
        """Set the policy, ACCEPT or DROP, of a chain of table filter by one of iptables' programs."""
        xtables.run(self._cluster.netns_of(target), [program, "-w", "-P", chain, policy])
        before = "ACCEPT" if policy == "DROP" else "DROP"
        self._note(self.set_xt_policy, target=target, program=program, chain=chain, policy=before)

    def add_xt_jump(self, target: str, family: int, hook: str, match: str, chain: str, rules: str) -> None:
        """Make a chain of table filter, with rules one a line, and lead what matches there from a hook's start."""
        added = [*rules.splitlines(), f"-I {hook} 1 {match} -j {chain}"]
        xtables.restore(self._cluster.netns_of(target), family, xtables.table("filter", [chain], added))
        self._note(self.remove_xt_jump, target=target, family=family, hook=hook, match=match, chain=chain)

    def remove_xt_jump(self, target: str, family: int, hook: str, match: str, chain: str) -> None:
        """Remove what `add_xt_jump` made."""
        gone = [f"-D {hook} {match} -j {chain}", f"-X {chain}"]
        xtables.restore(self._cluster.netns_of(target), family, xtables.table("filter", [chain], gone))

    def delete_ipset_entry(self, target: str, name: str, entry: str) -> None:
        """Take an entry out of a set."""
        xtables.run(self._cluster.netns_of(target), ["ipset", "del", name, entry])
        self._note(self.add_ipset_entry, target=target, name=name, entry=entry)

    def add_ipset_entry(self, target: str, name: str, entry: str) -> None:
        """Put an entry into a set that has time-outs, for good."""
        xtables.run(self._cluster.netns_of(target), ["ipset", "add", name, entry, "timeout", "0"])

    def keep_xt_tables(self) -> None:
        """When it is undone, remove what iptables has made on nodes since: its tables and base chains stay, empty."""
        for name, node in self._cluster.nodes.items():
            if node.state.alive:
                self._note(self.drop_xt_tables, node=name, before=" ".join(nft.tables_and_chains(node.root)))

    def drop_xt_tables(self, node: str, before: str) -> None:
        """Remove iptables' tables and chains that were not there before."""
        root = self._cluster.netns_of(node)
        for one in reversed(nft.tables_and_chains(root)):
            words = one.split(".")
            if one not in before.split() and words[1] in ("filter", "nat", "mangle", "raw"):
                kind = "chain" if len(words) == 3 else "table"
                nft.apply(root, f"delete {kind} {' '.join(words)}\n")

    # -- Kubernetes

    def apply_policy(self, name: str, policy: str) -> None:
        """Add a network policy of namespace default, given as JSON."""
        self._cluster.apply([json.loads(policy)])
        self._note(self.delete_policy, name=name)

    def delete_policy(self, name: str) -> None:
        """Delete a network policy that a change added."""
        self._cluster.delete("networkpolicy", name)

    def misdirect_service(self, node: str, service: str, address: str) -> None:
        """Have a node's rules lead a service (NAMESPACE/NAME) to one address per family instead of its endpoints.

        `address` is "IPV4 IPV6".
        """
        self._rewrite(node, service, agent.moved(address))
        self._note(self.redirect_services, node=node)

    def double_endpoint(self, node: str, service: str) -> None:
        """Have a node's rules list a service's (NAMESPACE/NAME) first endpoint twice."""
        self._rewrite(node, service, agent.doubled)
        self._note(self.redirect_services, node=node)

    def pin_flows(self, pod: str, service: str, address: str, pinned: Sequence[Flow]) -> None:
        """Have conntrack on a pod's node lead UDP flows of the pod to `address`, "IPV4 IPV6", whatever the rules say.

        This comes about as in reality: the service's (NAMESPACE/NAME) endpoint was there when they began.
        """
        node = self._cluster.pod(pod).node
        root, source = self._cluster.netns_of(node), self._cluster.netns_of(pod)
        self._rewrite(node, service, agent.moved(address))
        try:
            for flow in pinned:
                self.delete_flow(node, *flow)
                flows.begin(root, source, flow)
                self._note(self.delete_flow, target=node, **flow._asdict())
        finally:
            self.redirect_services(node)

    def delete_flow(self, target: str, src: str, sport: int, dst: str, dport: int) -> None:
        """Delete the conntrack entry of a UDP flow if there is one."""
        flows.forget(self._cluster.netns_of(target), flows.Flow(src, sport, dst, dport))

    def redirect_services(self, node: str) -> None:
        """Have a node's rules lead services to where the API's lists say."""
        self._rewrite(node, "", agent.unchanged)

    def _rewrite(self, node: str, service: str, change: Callable[[agent.Endpoints], agent.Endpoints]) -> None:
        cluster = self._cluster
        agent.rewrite(cluster.site, cluster.kind, cluster.state, node, service, change)

    def set_nameserver(self, pod: str, address: str) -> None:
        """Have a pod's resolv.conf name another server; "" is the cluster's DNS service."""
        self._cluster.set_nameserver(pod, address)
        if address:
            self._note(self.set_nameserver, pod=pod, address="")

    def set_hairpin(self, target: str, dev: str, on: int) -> None:
        """Have a bridge's port send frames back by where they came from (1), or not (0)."""
        with self._rtnl(target) as rtnl:
            rtnl.set_port(rtnl.ifindex(dev), mode=on)
        self._note(self.set_hairpin, target=target, dev=dev, on=1 - on)

    # -- the rest

    def set_sysctl(self, target: str, name: str, value: int | str) -> None:
        """Write a sysctl under net/ (with slashes)."""
        path = self._cluster.netns_of(target)
        before = netns.read_sysctl(path, name)
        netns.set_sysctls(path, {name: value})
        self._note(self.set_sysctl, target=target, name=name, value=before)

    def set_listening(self, pod: str, on: int, address: str = "") -> None:
        """Start (1) or stop (0) a pod's listeners, at one address if told."""
        self._cluster.set_listening(pod, bool(on), address)
        self._note(self.set_listening, pod=pod, on=1 - on)
