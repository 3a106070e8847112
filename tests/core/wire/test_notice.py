"""What the server says of records that it left out, and to whom; and that the session goes on."""

from __future__ import annotations

import msgspec
import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.ids import NetnsKey
from netviz.core.model.l3 import Addr
from netviz.core.model.netfilter import ChainBody, NftExpr, NftRuleBody, body_digest
from netviz.core.model.netns import Netns
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta
from netviz.core.wire import events as ev
from netviz.core.wire import messages as m
from netviz.core.wire.agent_session import AgentSession
from netviz.core.wire.codec import decode_frame, encode_frame
from tests.core.wire.pair import EPOCH, NODE, Agent, Pair

KEY = NetnsKey(NODE, 4, 1)
RIGHT, WRONG = Addr(2, pack_ip("10.0.0.1"), 24), Addr(3, b"", 24)
BAD_BODY = ChainBody((NftRuleBody((NftExpr("cmp", {"data": None}),)),))


def understanding(*words: str) -> Pair:
    agent = Agent()
    agent.session = AgentSession(m.Hello(NODE, (1,), "test", EPOCH, understands=words), 0.0)
    return Pair(agent)


def addrs(*records: Addr) -> NodeDelta:
    return NodeDelta((NetnsDelta(KEY, Netns(KEY), addrs=Change(records)),))


@pytest.mark.parametrize("in_snapshot", [True, False])
def test_a_collector_that_understands_is_told_section_record_and_reason(in_snapshot: bool) -> None:
    pair = understanding(m.NOTICE)
    if in_snapshot:
        pair.agent.change(addrs(WRONG, RIGHT))
    pair.connect()
    pair.settle()
    if not in_snapshot:
        pair.agent.change(addrs(WRONG, RIGHT))
        pair.settle()
    (notice,) = [one for one in pair.agent.events if isinstance(one, ev.Noticed)]
    (bad,) = notice.records
    assert notice.code == "bad_message"
    assert (bad.netns, bad.section, bad.record) == (str(KEY), "addrs", "3,,24,")
    assert "addr" in bad.reason
    assert pair.server.state is not None
    assert list(pair.server.state.netns[KEY].addrs.values()) == [RIGHT]
    pair.agent.change(addrs(Addr(4, pack_ip("10.0.0.4"), 24)))
    pair.settle()
    assert len(pair.server.state.netns[KEY].addrs) == 2, "the session goes on"


def test_an_older_collector_is_served_without_a_word() -> None:
    pair = understanding()
    pair.agent.change(addrs(WRONG, RIGHT))
    pair.connect()
    pair.settle()
    assert not [one for one in pair.agent.events if isinstance(one, ev.Noticed)]
    assert pair.server.state is not None
    assert list(pair.server.state.netns[KEY].addrs.values()) == [RIGHT]
    assert pair.server.state.netns[KEY].refused


def test_many_are_named_up_to_a_bound_and_counted() -> None:
    pair = understanding(m.NOTICE)
    pair.agent.change(addrs(*(Addr(index, b"", 24) for index in range(1000))))
    pair.connect()
    pair.settle()
    (notice,) = [one for one in pair.agent.events if isinstance(one, ev.Noticed)]
    assert len(notice.records) == m.MAX_BAD_RECORDS


def test_a_body_that_cannot_be_used_is_named_by_its_digest_and_no_other_is_lost() -> None:
    good = ChainBody((NftRuleBody((NftExpr("counter"),)),))
    message = decode_frame(
        encode_frame(m.Bodies((BAD_BODY, good), refused=((b"x" * 16, "said, not found"),)))
    )
    assert isinstance(message, m.Bodies)
    assert message.bodies == (good,)
    ((digest, reason),) = message.refused
    assert digest == body_digest(BAD_BODY)
    assert "NoneType" in reason
    unreadable = msgspec.msgpack.encode({"t": "bodies", "bodies": [{"type": "chain", "rules": 5}, good]})
    message = decode_frame(b"\0" + unreadable)
    assert isinstance(message, m.Bodies)
    assert message.bodies == (good,)
    assert len(message.refused) == 1


def test_a_namespace_without_a_key_ends_the_session_by_name() -> None:
    from netviz.core.wire.errors import RemoteProtocolError

    message = {"t": "delta", "epoch": 1, "seq": 1, "at_ns": 1, "delta": {"netns": [{"key": ["n1", -1, 1]}]}}
    with pytest.raises(RemoteProtocolError, match="cannot read the message"):
        decode_frame(b"\0" + msgspec.msgpack.encode(message))
