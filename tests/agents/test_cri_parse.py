"""CRI answers made by hand, and broken ones."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.collectors.cri import (
    Sandbox,
    make_message,
    parse_containers,
    parse_message,
    parse_sandbox_info,
    parse_sandboxes,
)
from agents.collectors.pods import SourceError


def pair(key: str, value: str) -> bytes:
    return make_message((1, key.encode()), (2, value.encode()))


@given(
    st.lists(
        st.tuples(st.integers(1, 2_000), st.one_of(st.integers(0, 2**64 - 1), st.binary(max_size=300)))
    ).map(lambda fields: fields)
)
def test_messages_come_back_as_they_were_made(fields: list[tuple[int, int | bytes]]) -> None:
    expected: dict[int, list[int | bytes]] = {}
    for number, value in fields:
        expected.setdefault(number, []).append(value)
    assert parse_message(make_message(*fields)) == expected


@given(st.binary(max_size=100))
def test_broken_messages_are_refused(data: bytes) -> None:
    for parse in (parse_sandboxes, parse_containers, parse_sandbox_info):
        with suppress(SourceError):
            parse(data)


def test_fixed_width_fields_are_stepped_over() -> None:
    data = b"\x09" + bytes(8) + b"\x15" + bytes(4) + make_message((3, 7))
    assert parse_message(data)[3] == [7]


def test_only_ready_sandboxes_and_running_containers_count() -> None:
    metadata = make_message((1, b"web"), (2, b"u1"), (3, b"shop"))
    ready = make_message(
        (1, b"s1"), (2, metadata), (5, pair("app", "web")), (5, pair("io.kubernetes.pod.uid", "u1"))
    )
    ended = make_message((1, b"s2"), (2, metadata), (3, 1))
    assert parse_sandboxes(make_message((1, ready), (1, ended))) == [
        Sandbox("s1", "web", "shop", "u1", {"app": "web"})
    ]
    containers = [
        make_message((1, b"c"), (2, b"s1"), (3, make_message((1, name))), (6, state))
        for name, state in ((b"nginx", 1), (b"init", 2), (b"log", 1))
    ]
    assert parse_containers(make_message(*((1, c) for c in containers))) == {"s1": ["nginx", "log"]}


def test_process_and_namespace_come_from_the_runtimes_own_json() -> None:
    info = {
        "pid": 42,
        "runtimeSpec": {
            "linux": {"namespaces": [{"type": "pid"}, {"type": "network", "path": "/run/netns/x"}]}
        },
    }
    assert parse_sandbox_info(make_message((2, pair("info", json.dumps(info))))) == (42, "/run/netns/x")
    assert parse_sandbox_info(make_message((2, pair("info", '{"pid": 7}')))) == (7, "")
    with pytest.raises(SourceError, match="cannot be read"):
        parse_sandbox_info(make_message((2, pair("info", "{"))))
