"""Changes to a running cluster's kernel state that know how to undo themselves.

A `Changes` makes each change and notes its inverse as plain data, so that another process can undo
them later. Undoing runs in reverse order and forgives what somebody has already undone by hand.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lab import netns, nft
from lab.cluster import Cluster
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

    def _note(self, op: Callable[..., None], **args: str | int) -> None:
        self.undo.append(Inverse(op.__name__, args))

    def revert(self, undo: list[Inverse]) -> None:
        """Undo changes, the last one first. Raises: OSError, NftError."""
        for inverse in reversed(undo):
            try:
                getattr(self, inverse.op)(**inverse.args)
            except LookupError:
                continue  # the link is gone, and what was set on it
            except OSError as error:
                if error.errno not in _FORGIVEN:
                    raise

    # -- routes, addresses, neighbours

    def add_route(self, target: str, dst: str, via: str = "", dev: str = "") -> None:
        """Add a route by gateway or by device."""
        with self._rtnl(target) as rtnl:
            rtnl.add_route(dst, via=via or None, oif=rtnl.ifindex(dev) if dev else None)
        self._note(self.delete_route, target=target, dst=dst, via=via, dev=dev)

    def delete_route(self, target: str, dst: str, via: str = "", dev: str = "") -> None:
        """Delete a route."""
        with self._rtnl(target) as rtnl:
            rtnl.delete_route(dst, via=via or None, oif=rtnl.ifindex(dev) if dev else None)
        self._note(self.add_route, target=target, dst=dst, via=via, dev=dev)

    def add_addr(self, target: str, dev: str, cidr: str) -> None:
        """Add an address to a link."""
        with self._rtnl(target) as rtnl:
            rtnl.add_addr(rtnl.ifindex(dev), cidr)
        self._note(self.delete_addr, target=target, dev=dev, cidr=cidr)

    def delete_addr(self, target: str, dev: str, cidr: str) -> None:
        """Remove an address from a link."""
        with self._rtnl(target) as rtnl:
            rtnl.delete_addr(rtnl.ifindex(dev), cidr)
        self._note(self.add_addr, target=target, dev=dev, cidr=cidr)

    def set_neigh(self, target: str, dev: str, dst: str, mac: str) -> None:
        """Set a permanent neighbour entry."""
        with self._rtnl(target) as rtnl:
            rtnl.replace_neigh(rtnl.ifindex(dev), dst, mac)
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
        self._note(self.move_port, target=target, dev=dev, master=before, before=master)

    # -- the rest

    def set_sysctl(self, target: str, name: str, value: int | str) -> None:
        """Write a sysctl under net/ (with slashes)."""
        path = self._cluster.netns_of(target)
        before = netns.read_sysctl(path, name)
        netns.set_sysctls(path, {name: value})
        self._note(self.set_sysctl, target=target, name=name, value=before)

    def insert_nft_rule(self, target: str, chain: str, rule: str) -> None:
        """Put a rule at the start of a chain, given as "FAMILY TABLE CHAIN"."""
        handle = nft.insert_rule(self._cluster.netns_of(target), chain, rule)
        self._note(self.delete_nft_rule, target=target, chain=chain, handle=handle)

    def delete_nft_rule(self, target: str, chain: str, handle: int) -> None:
        """Delete a rule that a change inserted."""
        nft.delete_rule(self._cluster.netns_of(target), chain, handle)

    def set_listening(self, pod: str, on: int) -> None:
        """Start (1) or stop (0) a pod's listeners."""
        self._cluster.set_listening(pod, bool(on))
        self._note(self.set_listening, pod=pod, on=1 - on)
