"""The run: containers are attached, judged, changed and detached, step by step; each step adds its findings.

Two containers on each node are attached one after the other, and stay; others come and go at once with them. What is
on the nodes is compared with what the first container of each node left when it was gone again: a bridge or a chain that all
containers share may stay, what grows with each container may not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from lab.cluster import Cluster, ClusterSpec
from lab.cni.conf import ConfError, Network, differs_by_node, of_node, parse
from lab.cni.runtime import Attachment, PluginError, Runtime
from lab.cni_verify import added, contract
from lab.cni_verify.containers import Containers, of
from lab.cni_verify.findings import Findings
from lab.cni_verify.stream import Stream
from lab.kinds import BARE
from lab.rtnl import Rtnl

STAY = 2
Progress = Callable[[str], None]


class Wanted(msgspec.Struct, frozen=True):
    """What is to be verified: a configuration's text, the plugins' folder, and how."""

    conf: str
    plugins: Path
    nodes: int = 0
    rounds: int = 5
    timeout_s: float = 10.0


def verify(wanted: Wanted, progress: Progress) -> Findings:
    """Run everything. Raises: ConfError for what can't be run, LabError where the lab can't."""
    nodes = wanted.nodes or (2 if differs_by_node(wanted.conf) else 1)
    spec = ClusterSpec(f"cni-{os.getpid()}", nodes=nodes, pods=0, kind=BARE.name)
    sketch = parse(wanted.conf, of_node(BARE.plan_node(spec, 1), Path("/")))
    missing = [kind for kind in sketch.types if not os.access(wanted.plugins / kind, os.X_OK)]
    if missing:
        raise ConfError(
            f"{wanted.plugins} has no program {' or '.join(missing)}, which the configuration names"
        )
    findings = Findings(sketch.name, sketch.version, sketch.types, nodes)
    with Cluster.up(spec, progress) as cluster:
        _Run(cluster, wanted, sketch, findings, progress).run()
    return findings


class _Run:
    def __init__(
        self, cluster: Cluster, wanted: Wanted, network: Network, findings: Findings, progress: Progress
    ) -> None:
        self._cluster, self._wanted, self._network = cluster, wanted, network
        self._findings, self._progress = findings, progress
        runtimes, leases = {}, {}
        for name, node in cluster.nodes.items():
            state = node.directory / "cni"
            mine = parse(wanted.conf, of_node(node.state, state))
            leases[name] = state / "ipam"
            runtimes[name] = Runtime(node.root, mine, wanted.plugins, state / "results", wanted.timeout_s)
        self._all = Containers(cluster, network, runtimes, leases)
        self._stays: dict[str, set[str]] = {}  # what there is for the containers that stay

    def run(self) -> None:
        """Take all steps; what can't go on says so."""
        self._ask_first()
        before = self._all.there()
        names = self._all.new(1)
        self._all.add(names)
        works = all(name in self._all.added for name in names)
        self._all.delete(names)
        shared = self._all.there()
        if works:
            self._stay()
            self._judge("as it was built")
            self._check()
            self._change()
            self._collect()
        else:
            for name in (
                "addresses",
                "contract, predicted",
                "contract, real packets",
                "CHECK",
                "changes under load",
                "GC",
            ):
                self._findings.add(name, "", reason="the first container couldn't be attached")
        self._end(before, shared)

    # -- steps

    def _ask_first(self) -> None:
        """VERSION and STATUS."""
        self._progress("VERSION, STATUS")
        runtime = next(iter(self._all.runtimes.values()))
        wrong = []
        for kind in self._network.types:
            try:
                versions = runtime.versions(kind)
                if self._network.version not in versions:
                    wrong.append(f"{kind} supports {', '.join(versions)}, not {self._network.version}")
            except PluginError as error:
                wrong.append(str(error))
        self._findings.add("VERSION", f"each plugin supports version {self._network.version}", wrong)
        demands = "each plugin says that it is ready"
        if not self._network.speaks("1.1.0"):
            self._findings.add("STATUS", demands, reason=self._since("STATUS", "1.1.0"))
            return
        self._findings.add(
            "STATUS",
            demands,
            self._complaints(self._all.runtimes, lambda node: self._all.runtimes[node].status()),
        )

    def _stay(self) -> None:
        """Attach containers that stay, two of a node at once."""
        self._progress(f"ADD, {STAY} containers at once on each node")
        self._all.add(self._all.new(STAY))
        self._stays = self._all.there()
        twice = self._all.twice()
        self._findings.add("addresses", "each container has an address that no other has", twice)

    def _judge(self, when: str) -> None:
        """Hold the network to the contract, by prediction and by packets."""
        self._progress(f"the contract, {when}")
        met = contract.Met(self._cluster, self._all.added)
        predicted = contract.Predicted(self._cluster)
        kept = met.between()
        wrong = predicted.wrong
        wrong += [
            f"{a} to {b}: predicted {'kept' if said else 'broken'}, in reality {'kept' if kept[a, b] else 'broken'}"
            for a, b in kept
            if (said := predicted.keeps(a, b)) is not None and said != kept[a, b]
        ]
        demands = "every pod reaches every pod and its node by its own address"
        entry = self._findings.add(f"contract, predicted, {when}", demands, wrong)
        entry.notes += [f"not known: {one}" for one in predicted.undecided]
        entry = self._findings.add(f"contract, real packets, {when}", demands, met.wrong)
        entry.notes += [f"{len(met.outcomes)} exchanges", *contract.leaving(self._cluster, self._all.added)]
        if self._network.maps_ports:
            mapped = {
                n: a.ports[0]["hostPort"]
                for n, a in self._all.attached.items()
                if a.ports and n in self._all.added
            }
            demands = "a container's port is reached by its node's, from elsewhere"
            self._findings.add(f"port mappings, {when}", demands, contract.ports(self._cluster, mapped))

    def _check(self) -> None:
        """CHECK passes where nothing was changed, and fails where an address was taken away."""
        demands = "it passes as ADD left a container, and fails when its address is taken away"
        if not self._network.speaks("0.4.0") or self._network.disable_check:
            reason = "disableCheck" if self._network.disable_check else self._since("CHECK", "0.4.0")
            self._findings.add("CHECK", demands, reason=reason)
            return
        self._progress("CHECK")
        wrong = self._complaints(
            self._all.added, lambda name: self._all.runtime(name).check(self._all.attached[name])
        )
        names = self._all.new(1, list(self._all.runtimes)[:1])
        self._all.add(names)
        for name in names:
            if name in self._all.added and not wrong:
                address = next(iter(self._all.added[name].addresses.values()))
                with Rtnl(self._all.attached[name].netns) as inside:
                    inside.set_up(inside.ifindex("eth0"), False)
                    _take(inside, self._all.attached[name], address)
                try:
                    self._all.runtime(name).check(self._all.attached[name])
                    wrong.append(
                        f"it passes, although {address} was taken from the container's eth0, which is down"
                    )
                except PluginError as error:
                    if "hangs" in str(error):
                        wrong.append(str(error))
        self._all.delete(names)
        self._findings.add("CHECK", demands, wrong)

    def _change(self) -> None:
        """Attach and detach others, two of a node at once, while pods that stay talk to each other."""
        staying = list(self._all.added)
        demands = "pods that stay lose nothing while others come and go"
        pairs = list(zip(staying, staying[1:] + staying[:1], strict=True)) if len(staying) > 1 else []
        with ExitStack() as stack:
            streams = []
            for one, other in pairs:
                for address in self._all.added[other].addresses.values():
                    stream = Stream(f"{one} to {other} ({address})", self._cluster.netns_of(one), address)
                    streams.append(stack.enter_context(stream))
            for turn in range(self._wanted.rounds):
                self._progress(f"changes under load, round {turn + 1} of {self._wanted.rounds}")
                names = self._all.new(STAY)
                self._all.add(names)
                self._all.delete(names)
        wrong = [
            f"{one.name}: {one.sent - one.answered} of {one.sent} datagrams lost"
            for one in streams
            if one.answered < one.sent
        ]
        entry = self._findings.add("changes under load", demands, wrong)
        entry.notes.append(
            f"{2 * STAY * self._wanted.rounds * len(self._all.runtimes)} changes, {sum(one.sent for one in streams)} datagrams"
        )
        self._judge("after the changes")

    def _collect(self) -> None:
        """GC removes what belongs to a container that is gone without DEL, and nothing else."""
        demands = "what a container left that went without DEL is removed, and nothing of those that stay"
        if not self._network.speaks("1.1.0") or self._network.disable_gc:
            reason = "disableGC" if self._network.disable_gc else self._since("GC", "1.1.0")
            self._findings.add("GC", demands, reason=reason)
            return
        self._progress("GC")
        before = self._all.there()
        names = self._all.new(1)
        self._all.add(names)
        names = [name for name in names if name in self._all.added]
        for name in names:
            self._cluster.remove_pod(name)
        wrong = self._complaints(
            self._all.runtimes, lambda node: self._all.runtimes[node].collect(self._all.staying(node))
        )
        wrong += _grown(before, self._all.there(), "is still there")
        staying = {node: lines & self._stays[node] for node, lines in before.items()}
        wrong += _grown(self._all.there(), staying, "of a container that stays was removed")
        for name in names:
            self._all.forget(name)
        self._findings.add("GC", demands, wrong)

    def _end(self, before: dict[str, set[str]], shared: dict[str, set[str]]) -> None:
        """Detach everything, twice, one after its namespace is gone; see what is left."""
        self._progress("DEL, and what it leaves behind")
        names = list(self._all.attached)
        gone = names[-1:]
        for name in gone:
            self._cluster.remove_pod(name)
        for name in [*names, *names]:
            self._all.detach(name)
        for name in names:
            self._all.drop(name)
        self._findings.add(
            "ADD",
            "each container gets what the answer says, in the version that was asked for",
            [*self._all.failed["ADD"], *self._all.answers],
        )
        self._findings.add(
            "DEL", "it succeeds, also twice, and without the namespace", self._all.failed["DEL"]
        )
        entry = self._findings.add(
            "left behind",
            "after DEL nothing of a container is left on its node",
            _grown(shared, self._all.there(), "is left"),
        )
        entry.notes += _grown(before, shared, "stays after the last DEL, for all containers")

    def _complaints(self, names: Iterable[str], call: Callable[[str], None]) -> list[str]:
        found = []
        for name in list(names):
            try:
                call(name)
            except PluginError as error:
                found.append(of(name, str(error)))
        return found

    def _since(self, operation: str, version: str) -> str:
        return (
            f"{operation} came with CNI {version}, the configuration is written for {self._network.version}"
        )


def _take(inside: Rtnl, attachment: Attachment, address: str) -> None:
    """Take an address from a container's link."""
    for link in added.links_of(attachment.netns):
        for one in link.get("addr_info", []):
            if one["local"] == address:
                inside.delete_addr(inside.ifindex(link["ifname"]), f"{address}/{one['prefixlen']}")


def _grown(before: dict[str, set[str]], after: dict[str, set[str]], what: str) -> list[str]:
    """Say what nodes have that they hadn't."""
    where: dict[str, list[str]] = {}
    for node, lines in after.items():
        for line in lines - before[node]:
            where.setdefault(line, []).append(node)
    return [f"{', '.join(nodes)}: {line} {what}" for line, nodes in sorted(where.items())]
