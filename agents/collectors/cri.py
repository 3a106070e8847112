"""Pods as the container runtime knows them, over its CRI socket (containerd, CRI-O).

Four calls of runtime.v1.RuntimeService are used, so their few protobuf fields are read and written
here instead of by generated code: a field is a key (number << 3 | wire type) and a value; of the wire
types, CRI uses variable-length integers (0) and length-prefixed bytes (2), which hold text, submessages and map
entries (a submessage of key 1 and value 2) alike. grpcio is imported only when a socket was given.

A sandbox's process and namespace path are in the runtime's own JSON (`info` of a verbose
PodSandboxStatus); they never change, so each sandbox is asked for until it answered once. One that
cannot be read leaves its own pod without a namespace, and no other.

Source: kubernetes/cri-api, pkg/apis/runtime/v1/api.proto; containerd, pkg/cri/server/sandbox_status.go.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from agents.collectors.pods import PodClaim, SourceError
from netviz.core.model.netns import Pod

SERVICE = "/runtime.v1.RuntimeService"
TIMEOUT_S = 5.0
SANDBOX_READY = 0
CONTAINER_RUNNING = 1
_BOOKKEEPING = "io.kubernetes."

Value = int | bytes


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def parse_message(data: bytes) -> dict[int, list[Value]]:
    """Split a protobuf message: field number -> values in order.

    Raises: SourceError when it isn't one.
    """
    fields: dict[int, list[Value]] = {}
    at = 0
    try:
        while at < len(data):
            key, at = _varint(data, at)
            value: Value
            match key & 7:
                case 0:
                    value, at = _varint(data, at)
                case 2:
                    length, at = _varint(data, at)
                    value, at = data[at : at + length], at + length
                case 1:
                    value, at = data[at : at + 8], at + 8
                case 5:
                    value, at = data[at : at + 4], at + 4
                case other:
                    raise SourceError(f"the runtime sent wire type {other}")
            if at > len(data):
                raise SourceError("the runtime sent a message that is cut short")
            fields.setdefault(key >> 3, []).append(value)
    except IndexError:
        raise SourceError("the runtime sent a message that is cut short") from None
    return fields


def make_message(*fields: tuple[int, Value]) -> bytes:
    """Make a protobuf message of integers and bytes."""
    out = bytearray()
    for number, value in fields:
        if isinstance(value, int):
            out += _make_varint(number << 3) + _make_varint(value)
        else:
            out += _make_varint(number << 3 | 2) + _make_varint(len(value)) + value
    return bytes(out)


def _make_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _text(fields: dict[int, list[Value]], number: int) -> str:
    value = fields.get(number, [b""])[-1]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _messages(fields: dict[int, list[Value]], number: int) -> Iterator[dict[int, list[Value]]]:
    for value in fields.get(number, ()):
        if isinstance(value, bytes):
            yield parse_message(value)


def _map(fields: dict[int, list[Value]], number: int) -> dict[str, str]:
    return {_text(entry, 1): _text(entry, 2) for entry in _messages(fields, number)}


class Sandbox(msgspec.Struct, frozen=True):
    """A pod sandbox as ListPodSandbox has it."""

    id: str
    name: str
    namespace: str
    uid: str
    labels: dict[str, str]


def parse_sandboxes(data: bytes) -> list[Sandbox]:
    """Read a ListPodSandboxResponse: the sandboxes that are ready. Raises: SourceError."""
    found = []
    for item in _messages(parse_message(data), 1):
        if item.get(3, [SANDBOX_READY])[-1] != SANDBOX_READY:
            continue
        metadata = next(_messages(item, 2), {})
        labels = {k: v for k, v in _map(item, 5).items() if not k.startswith(_BOOKKEEPING)}
        found.append(
            Sandbox(_text(item, 1), _text(metadata, 1), _text(metadata, 3), _text(metadata, 2), labels)
        )
    return found


def parse_containers(data: bytes) -> dict[str, list[str]]:
    """Read a ListContainersResponse: sandbox id -> names of its running containers. Raises: SourceError."""
    found: dict[str, list[str]] = {}
    for item in _messages(parse_message(data), 1):
        if item.get(6, [0])[-1] == CONTAINER_RUNNING:
            metadata = next(_messages(item, 3), {})
            found.setdefault(_text(item, 2), []).append(_text(metadata, 1))
    return found


def parse_sandbox_info(data: bytes) -> tuple[int, str]:
    """Read a verbose PodSandboxStatusResponse: (process id or 0, namespace path or ""). Raises: SourceError."""
    info = _map(parse_message(data), 2).get("info", "")
    try:
        known = msgspec.json.decode(info, type=_Info)
    except msgspec.MsgspecError as err:
        raise SourceError(f"the runtime's sandbox info cannot be read: {err}") from None
    spec = known.runtimeSpec
    paths = [ns.path for ns in spec.linux.namespaces if ns.type == "network"] if spec else []
    return known.pid, paths[0] if paths else ""


class _Namespace(msgspec.Struct):
    type: str
    path: str = ""


class _Linux(msgspec.Struct):
    namespaces: list[_Namespace] = []


class _Spec(msgspec.Struct):
    linux: _Linux = msgspec.field(default_factory=_Linux)


class _Info(msgspec.Struct):
    pid: int = 0
    runtimeSpec: _Spec | None = None


class CriSource:
    """Ask a container runtime for its pods."""

    kind = "cri"
    poll_s = 2.0

    def __init__(self, address: str) -> None:
        self.address = address if "://" in address else f"unix://{address}"
        self._channel: Any = None
        self.trouble = ""
        self._known: dict[str, tuple[int, str]] = {}
        self._failed: dict[str, str] = {}

    def changed(self) -> bool:
        """A runtime is asked each time."""
        return True

    def watch(self, on_change: Callable[[], None]) -> bool:
        """The runtime's events are not asked for."""
        return False

    def close(self) -> None:
        """Hang up."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def read(self) -> list[PodClaim]:
        """List the pods. Blocks. Raises: SourceError."""
        sandboxes = parse_sandboxes(self._call("ListPodSandbox"))
        containers = parse_containers(self._call("ListContainers"))
        self._learn([sandbox.id for sandbox in sandboxes])
        return [self._claim(sandbox, containers.get(sandbox.id, [])) for sandbox in sandboxes]

    def _learn(self, ids: list[str]) -> None:
        """Ask for every sandbox that isn't known yet, until answers took too long in all; the rest waits.

        Those that gave no answer the last time are asked last, so that they don't keep others waiting.
        """
        self._known = {one: self._known[one] for one in ids if one in self._known}
        failed: dict[str, str] = {}
        end = time.monotonic() + TIMEOUT_S
        for one in sorted((i for i in ids if i not in self._known), key=lambda i: i in self._failed):
            if time.monotonic() > end:
                failed[one] = "no time was left to ask"
                continue
            try:
                reply = self._call("PodSandboxStatus", make_message((1, one.encode()), (2, 1)))
                self._known[one] = parse_sandbox_info(reply)
            except SourceError as err:
                failed[one] = str(err)
        self._failed = failed
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        self.trouble = next((f"sandbox {one}: {why}{more}" for one, why in failed.items()), "")

    def _claim(self, sandbox: Sandbox, containers: list[str]) -> PodClaim:
        pid, path = self._known.get(sandbox.id, (0, ""))
        pod = Pod(
            name=sandbox.name,
            namespace=sandbox.namespace,
            uid=sandbox.uid,
            pause_pid=pid,
            containers=tuple(sorted(containers)),
            labels=sandbox.labels,
            source=self.kind,
        )
        return PodClaim(pod, path)

    def _call(self, method: str, request: bytes = b"") -> bytes:
        import grpc

        if self._channel is None:
            self._channel = grpc.insecure_channel(self.address)
        call = self._channel.unary_unary(f"{SERVICE}/{method}")
        try:
            reply: bytes = call(request, timeout=TIMEOUT_S)
        except grpc.RpcError as err:
            raise SourceError(f"{self.address}: {method}: {err.code().name}: {err.details()}") from None
        return reply
