"""The CRI source against a runtime of our own that knows two pods, one of which cannot be read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from agents.collectors.cri import SERVICE, CriSource, make_message, parse_message


class Runtime(grpc.GenericRpcHandler):
    """Answers the calls that the source makes; sandbox `bad` fails while `broken`."""

    def __init__(self) -> None:
        self.broken = True

    def service(self, call: Any) -> Any:
        method = getattr(self, call.method.removeprefix(f"{SERVICE}/"))
        return grpc.unary_unary_rpc_method_handler(method)

    def ListPodSandbox(self, _request: bytes, _context: Any) -> bytes:
        pods = (("bad", "web-1"), ("good", "web-2"))
        sandboxes = (
            make_message((1, one.encode()), (2, make_message((1, name.encode()), (3, b"shop"))))
            for one, name in pods
        )
        return make_message(*((1, sandbox) for sandbox in sandboxes))

    def ListContainers(self, _request: bytes, _context: Any) -> bytes:
        return b""

    def PodSandboxStatus(self, request: bytes, context: Any) -> bytes:
        if self.broken and parse_message(request)[1] == [b"bad"]:
            context.abort(grpc.StatusCode.UNKNOWN, "its shim is gone")
        info = json.dumps({"pid": 42}).encode()
        return make_message((2, make_message((1, b"info"), (2, info))))


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[tuple[Runtime, CriSource]]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    node = Runtime()
    server.add_generic_rpc_handlers((node,))
    server.add_insecure_port(f"unix://{tmp_path}/cri.sock")
    server.start()
    source = CriSource(f"{tmp_path}/cri.sock")
    yield node, source
    source.close()
    server.stop(None).wait()


def test_a_sandbox_that_cannot_be_read_takes_no_other_pods_name_away(
    runtime: tuple[Runtime, CriSource],
) -> None:
    node, source = runtime
    claims = source.read()
    assert [(claim.pod.name, claim.pod.pause_pid) for claim in claims] == [("web-1", 0), ("web-2", 42)]
    assert source.trouble.startswith("sandbox bad: unix://")
    assert source.trouble.endswith("PodSandboxStatus: UNKNOWN: its shim is gone")
    node.broken = False
    assert [claim.pod.pause_pid for claim in source.read()] == [42, 42]
    assert source.trouble == ""
