"""The Python API of a running cluster: make it, change it, run programs in it, take it down.

    with Cluster.up(ClusterSpec("demo", nodes=3, pods=5)) as cluster:
        cluster.exec("web-1", ["ip", "route"])

A cluster made this way lives as long as its `Cluster` object's process; one made with
`detached=True` until someone calls `down`. Every operation that changes something takes the
cluster's lock, reads the state that another process may have written, and writes it back.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from lab import control, fabric, kinds, nft, paths, plan, privileges, supervisor
from lab.fabric import Site
from lab.kubernetes import agent, shapes
from lab.kubernetes.objects import apply_objects, delete_object
from lab.node import Node
from lab.rtnl import Rtnl
from lab.spec import RESERVED, ClusterSpec, ClusterState, LabError, NodeState, Pod, check_name
from lab.store import RESOLV_CONF, Store, comings_and_goings, remove_if_dead, running, sweep

__all__ = ["Cluster", "ClusterSpec", "LabError", "Node", "running", "sweep"]

Progress = Callable[[str], None]
DNS_PODS = 2
_ROOT = Path(__file__).resolve().parent.parent


def _quiet(_: str) -> None:
    return


class Cluster:
    """A running cluster. Make one with `Cluster.up`, find one with `Cluster.load`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.directory = store.directory
        self.changing = store.changing
        self.refresh = store.refresh
        self.nodes = {name: Node(store, name) for name in store.state.nodes}
        self.kind = kinds.find(store.state.spec.kind)
        self.site = Site(store.directory, self.kind.underlay4)
        self._owner_pipe = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._mutex = threading.RLock()
        self._handles: dict[str, tuple[int, Rtnl]] = {}

    @property
    def state(self) -> ClusterState:
        """The cluster's state, as this process last read it."""
        return self._store.state

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.state.spec.name

    # -- life

    @classmethod
    def up(cls, spec: ClusterSpec, progress: Progress = _quiet, *, detached: bool = False) -> Cluster:
        """Build a cluster. On any failure nothing of it remains. Raises: LabError."""
        spec.check()
        kind = kinds.find(spec.kind)
        kind.check(spec)
        agent.check(spec)
        nft.require()
        privileges.require()
        directory = paths.base_dir() / spec.name
        planned = [kind.plan_node(spec, index) for index in range(1, spec.nodes + 1)]
        state = ClusterState(spec, {node.name: node for node in planned}, services=shapes.invented(spec))
        cluster = cls(Store(directory, state))
        with comings_and_goings():
            try:
                directory.mkdir(mode=0o700)
            except FileExistsError:
                if not remove_if_dead(directory):
                    raise LabError(f"cluster {spec.name} is already up") from None
                directory.mkdir(mode=0o700)
            try:
                cluster._start_supervisor(detached)
            except BaseException:
                supervisor.remove_remains(directory)
                raise
        try:
            cluster._build(progress)
        except BaseException:
            cluster.down()
            raise
        return cluster

    def _build(self, progress: Progress) -> None:
        pause = shutil.which("sleep")
        if pause is None:
            raise LabError("the lab needs sleep from coreutils")
        (self.directory / "pause").symlink_to(pause)
        spec, nodes = self.state.spec, list(self.state.nodes.values())
        progress(f"{spec.name}: underlay, router, internet")
        with self.changing():
            fabric.build(self.site, lambda name: self._ask("netns", name=name))
            self._ask("listen", name="internet")
            for node in nodes:
                self._boot(node)
            self.kind.join_router(self.site, nodes)
            for node in nodes:
                self._join(node)
            for node in nodes:
                planned = [self._plan_pod(node, plan.pod_name(node, n)) for n in range(spec.pods)]
                if spec.services and node.index <= DNS_PODS:
                    planned.append(self._plan_pod(node, f"coredns-{node.index}", "dns"))
                self._add_pods(node, planned)
                progress(f"{spec.name}: {node.name} with {len(planned)} pods")
            self._settle(nodes)
            if resolver := agent.resolver(self.state):
                (self.directory / RESOLV_CONF).write_text(resolver)

    def _start_supervisor(self, detached: bool) -> None:
        read, self._owner_pipe = (-1, -1) if detached else os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-S", "-m", "lab.supervisor", str(self.directory), str(read)],
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                pass_fds=() if detached else (read,),
                start_new_session=True,
            )
        finally:
            if not detached:
                os.close(read)
        assert self._process.stdout is not None
        with self._process.stdout as said:
            if said.read(6) != b"ready\n":
                raise LabError(f"{self.name}: the supervisor didn't start")

    @classmethod
    def load(cls, name: str) -> Cluster:
        """Find a running cluster that this or another process made. Raises: LabError."""
        return cls(Store.load(paths.base_dir() / name))

    def close(self) -> None:
        """Close this process's sockets inside the cluster, which stays up."""
        for _, handle in self._handles.values():
            handle.close()
        self._handles.clear()

    def down(self) -> None:
        """Remove everything: processes, namespaces, mounts, files. Fine when it is already gone."""
        self.close()
        with suppress(FileNotFoundError):
            alive = os.open(self.directory / "alive", os.O_RDWR | os.O_CLOEXEC)
            try:
                self._stop_supervisor()
                # The supervisor lets go of this lock when it has undone everything.
                fcntl.flock(alive, fcntl.LOCK_EX)
            finally:
                os.close(alive)
        if self._owner_pipe >= 0:
            os.close(self._owner_pipe)
            self._owner_pipe = -1
        if self._process is not None:
            self._process.wait()
            self._process = None
        with comings_and_goings(), suppress(FileNotFoundError):
            remove_if_dead(self.directory)

    def _stop_supervisor(self) -> None:
        try:
            client = control.connect(self.directory / "control")
        except OSError:
            return
        try:
            client.call("stop")
        except control.ControlError:
            # It hangs or is ending by itself. Killed, it takes the nodes along.
            if pid := client.peer_pid():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        finally:
            client.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def _ask(self, op: str, **args: object) -> None:
        try:
            client = control.connect(self.directory / "control")
        except OSError as error:
            raise LabError(f"{self.name} isn't up any more") from error
        try:
            client.call(op, **args)
        except control.ControlError as error:
            raise LabError(f"{self.name}: {error}") from error
        finally:
            client.close()

    # -- looking things up

    @property
    def pods(self) -> dict[str, Pod]:
        """All pods of the cluster by name."""
        return {pod.name: pod for node in self.state.nodes.values() for pod in node.pods.values()}

    def pod(self, name: str) -> Pod:
        """Return a pod. Raises: LabError."""
        if (found := self.pods.get(name)) is None:
            raise LabError(f"{self.name} has no pod {name}")
        return found

    def netns_of(self, target: str) -> Path:
        """Return the namespace file of a pod, a node, "fabric", "router" or "internet". Raises: LabError."""
        if target in RESERVED:
            return self.directory / target
        if target in self.nodes:
            return self.nodes[target].root
        pod = self.pod(target)
        return self.nodes[pod.node].netns(target)

    def address_of(self, target: str, family: int = 4) -> str:
        """Return the IPv4 or IPv6 (`family` 6) address of a pod, a node, "router" or "internet"."""
        fixed = {
            "router": (plan.ROUTER4, plan.ROUTER6),
            "internet": (plan.INTERNET4, plan.INTERNET6),
        }
        if target in fixed:
            return fixed[target][family == 6]
        return (self.state.nodes.get(target) or self.pod(target)).address(family)

    def rtnl(self, node: str) -> Rtnl:
        """Return this process's lasting rtnetlink socket in a node's own namespace."""
        boots = self.state.nodes[node].boots
        with self._mutex:
            held = self._handles.get(node)
            if held is None or held[0] != boots:
                if held is not None:
                    held[1].close()
                held = self._handles[node] = (boots, Rtnl(self.nodes[node].root))
            return held[1]

    def exec(
        self, target: str, argv: Sequence[str], *, input: str | None = None, timeout_s: float | None = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the network namespace of a pod, a node, "router", "internet" or "fabric"."""
        return subprocess.run(
            self.command(target, argv), input=input, capture_output=True, text=True, timeout=timeout_s
        )

    def command(self, target: str, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs a program in a target's network namespace."""
        return ["nsenter", f"--net={self.netns_of(target)}", "--", *argv]

    # -- pods

    def _plan_pod(self, node: NodeState, name: str, app: str = "echo") -> Pod:
        if name in self.pods:
            raise LabError(f"{self.name} already has a pod {name}")
        check_name("pod", name)
        if name in RESERVED or name in self.state.nodes:
            raise LabError(f"no pod may be called {name}: {self.name} has a machine of that name")
        try:
            pod = self.kind.plan_pod(self.state.spec, node, name)
        except ValueError as error:
            raise LabError(str(error)) from error
        if app == "dns":
            pod.app, pod.namespace, pod.labels = app, shapes.DNS_NAMESPACE, {"k8s-app": shapes.DNS_NAME}
        node.pods[name] = pod
        return pod

    def _add_pods(self, node: NodeState, pods: list[Pod]) -> None:
        dns = [pod.name for pod in pods if pod.app == "dns"]
        pids = self.nodes[node.name].call("add", pods=[pod.name for pod in pods], dns=dns)
        assert isinstance(pids, dict)
        rtnl = self.rtnl(node.name)
        for pod in pods:
            pod.pause_pid, pod.app_pid = pids[pod.name]["pause"], pids[pod.name]["app"]
            self.kind.plug(self.site, self.state.spec, node, pod, rtnl)

    def _settle(self, changed: Sequence[NodeState]) -> None:
        """Bring up to date what depends on which pods, services and policies there are."""
        for node in changed:
            self.kind.pods_changed(self.site, node)
            self._store.write_pods(node)
        agent.settle(self.site, self.kind, self.state, self._serve_health)

    def _serve_health(self, node: str, services: agent.Health) -> None:
        self.nodes[node].call("health", services=services)

    def apply(self, made: Sequence[dict[str, Any]]) -> None:
        """Add or replace services and network policies, given as the API's objects. Raises: LabError."""
        with self.changing() as state:
            apply_objects(state, made)
            self._settle([])

    def delete(self, kind: str, name: str, namespace: str = "default") -> None:
        """Delete a service or network policy. Raises: LabError."""
        with self.changing() as state:
            delete_object(state, kind, name, namespace)
            self._settle([])

    def add_pod(self, node: str, name: str | None = None) -> Pod:
        """Add a pod to a node, named `name` or the next free name. Raises: LabError."""
        with self.changing() as state:
            where = state.nodes[node]
            taken = self.pods
            chosen = name or next(
                wanted
                for number in range(plan.MAX_POD_NAMES)
                if (wanted := plan.pod_name(where, number)) not in taken
            )
            pod = self._plan_pod(where, chosen)
            try:
                self._add_pods(where, [pod])
                self._settle([where])
            except BaseException:
                del where.pods[chosen]
                raise
            return pod

    def remove_pod(self, name: str) -> None:
        """End a pod's processes and remove its namespace. Raises: LabError."""
        with self.changing() as state:
            pod = self.pod(name)
            for fault in state.faults:
                if name in fault.target.values():
                    raise LabError(f"{name} has the fault {fault.id}: mend it first")
            node = state.nodes[pod.node]
            self.kind.unplug(self.site, state.spec, node, pod, self.rtnl(node.name))
            self.nodes[node.name].call("remove", name=name)
            del node.pods[name]
            self._settle([node])

    def set_listening(self, name: str, on: bool, address: str = "") -> None:
        """Start or stop a pod's listeners (its second process), at one address if told. Raises: LabError."""
        with self.changing():
            pod = self.pod(name)
            pids = self.nodes[pod.node].call("listen", pods=[name], on=on, address=address or "::")
            assert isinstance(pids, dict)
            pod.app_pid = pids.get(name, 0)

    def set_nameserver(self, name: str, address: str) -> None:
        """Have a pod ask another server for names, as one that began with another setting; "" is the cluster's. Raises: LabError."""
        with self.changing() as state:
            self._store.set_nameserver(state.nodes[self.pod(name).node], name, address)

    # -- nodes

    def _boot(self, node: NodeState) -> None:
        self._ask("node", name=node.name, shared=self.state.spec.shared)
        fabric.plug_node(self.site, node)
        self.kind.build_node(self.site, self.state.spec, node)
        agent.prepare(self.site, self.state.spec, node)
        node.alive = True
        node.boots += 1
        self._store.write_pods(node)

    def _join(self, node: NodeState) -> None:
        others = [other for other in self.state.nodes.values() if other is not node]
        self.kind.join(self.site, node, others)

    def kill_node(self, name: str) -> None:
        """Kill a node as if its power failed: every process at once, the NIC gone. Raises: LabError."""
        with self.changing() as state:
            node = state.nodes[name]
            if held := self._handles.pop(name, None):
                held[1].close()
            if node.alive:
                self._ask("kill", name=name)
            fabric.unplug_node(self.site, node)
            node.alive = False
            self._settle([])
            state.faults = [fault for fault in state.faults if fault.target.get("node") != name]

    def restart_node(self, name: str) -> None:
        """Boot a node (killing it first if it runs), with the same pods at the same addresses."""
        with self.changing() as state:
            self.kill_node(name)
            node = state.nodes[name]
            self._boot(node)
            self._join(node)
            self._add_pods(node, list(node.pods.values()))
            self._settle([node])
