"""The live state store: the same behaviour in memory and over Redis, and Redis's two sides in step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.stack import wait_until
from netviz.core.model.ids import NetnsKey
from netviz.core.model.kubernetes import KubePod, KubeService
from netviz.core.model.l3 import Addr
from netviz.core.model.netfilter import ChainBody, NftChain, NftExpr, NftRuleBody, body_digest
from netviz.core.model.netns import Netns, Sysctl
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta, ObjectsDelta, apply
from netviz.core.state.door import settle, sift
from netviz.core.state.node import NodeState, SectionStatus
from netviz.core.state.objects import cluster_source
from netviz.core.wire.messages import AgentStatus
from netviz.ingest import redis_leases, redis_outbox, redis_records, redis_store
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.redis_store import RedisStore
from netviz.ingest.store import CollectorReport, Position
from tests.web.services import redis_server

KEY = NetnsKey("n1", 4, 1)
POD = NetnsKey("n1", 4, 2)
BODIES = [ChainBody((NftRuleBody((NftExpr("counter", {"n": n}),)),)) for n in range(3)]
DIGESTS = [body_digest(body) for body in BODIES]


def whole(node: str = "n1", **sections: bool) -> NodeState:
    """A node with one namespace."""
    key = NetnsKey(node, 4, 1)
    status = {name: SectionStatus(1.0, whole=whole) for name, whole in (sections or {"links": True}).items()}
    return apply(
        NodeState(node), NodeDelta(netns=(NetnsDelta(key, Netns(key, "root", True)),), status=status)
    )


def sysctl(value: int) -> NodeDelta:
    return NodeDelta(netns=(NetnsDelta(KEY, sysctls=Change((Sysctl("net.a", value),), ())),))


def chain(name: str, digest: bytes, key: NetnsKey = KEY) -> NodeDelta:
    put = Change((NftChain(1, "filter", name, body=digest),), ())
    return NodeDelta(netns=(NetnsDelta(key, Netns(key) if key == POD else None, nft_chains=put),))


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(Path(tmp_path_factory.mktemp("redis"))) as url:
        yield url


@pytest.fixture
def open_store(redis_url: str) -> Iterator[Callable[[], RedisStore]]:
    """Open stores on one emptied Redis, as several processes do."""
    stores: list[RedisStore] = []

    def make() -> RedisStore:
        stores.append(RedisStore(redis_url))
        return stores[-1]

    yield make
    for one in stores:
        one.close()
    with redis_store.redis.Redis.from_url(redis_url) as client:
        client.flushall()


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> MemoryStore:
    if request.param == "memory":
        return MemoryStore()
    made: MemoryStore = request.getfixturevalue("open_store")()
    return made


def test_changes_show_at_once_and_count(store: MemoryStore) -> None:
    seen: list[tuple[str, NodeDelta | None, int]] = []
    end = store.subscribe(lambda node, delta, revision: seen.append((node, delta, revision)))
    store.replace(whole(), Position(5, 0), 100.0)
    before = store.cluster()
    assert store.cluster() is before
    store.fold("n1", sysctl(7), Position(5, 1), 101.0)
    assert before.nodes["n1"].netns[KEY].sysctls == {}
    assert store.cluster().nodes["n1"].netns[KEY].sysctls["net.a"].value == 7
    assert store.position("n1") == Position(5, 1)
    assert store.node_revisions()["n1"][:2] == (2, 101.0)
    end()
    store.fold("n1", sysctl(8), Position(5, 2), 102.0)
    assert [delta for _, delta, _ in seen] == [None, sysctl(7)]
    assert [revision for *_, revision in seen] == [1, 2]


def test_a_delta_that_does_not_fit_changes_nothing(store: MemoryStore) -> None:
    store.replace(whole(), Position(5, 0), 100.0)
    before = store.cluster()
    with pytest.raises(KeyError):
        store.fold("n1", NodeDelta(netns=(NetnsDelta(POD),)), Position(5, 1), 101.0)
    with pytest.raises(KeyError):
        store.fold("unknown", sysctl(1), Position(5, 1), 101.0)
    assert store.cluster() is before
    assert store.position("n1") == Position(5, 0)


def test_completeness_connection_and_report(store: MemoryStore) -> None:
    now = time.time()
    store.set_connected("n1", True, now)
    assert "n1" not in store.cluster().nodes
    store.replace(whole(links=True, routes=False), Position(5, 0), now)
    assert store.node_revisions()["n1"] == (1, now, True, False, now)
    store.fold("n1", NodeDelta(status={"routes": SectionStatus(2.0)}), Position(5, 1), now)
    assert store.node_revisions()["n1"].complete
    report = CollectorReport("1.0", AgentStatus(lost_events=4))
    store.report("n1", report, now + 1)
    assert store.collectors() == {"n1": report}
    store.set_connected("n1", False, now + 2)
    assert store.node_revisions()["n1"] == (2, now + 1, False, True, now), "heard later than compared"


def test_bodies_live_as_long_as_somebody_refers_to_them(store: MemoryStore) -> None:
    store.replace(whole(), Position(5, 0), 1.0)
    store.put_bodies(BODIES[:1])
    assert store.cluster().bodies == {}
    store.fold("n1", chain("a", DIGESTS[0]), Position(5, 1), 1.0)
    store.fold("n1", chain("b", DIGESTS[0], POD), Position(5, 2), 1.0)
    assert store.missing_bodies("n1") == [DIGESTS[0]]
    store.put_bodies(BODIES)
    assert store.cluster().bodies == {DIGESTS[0]: BODIES[0]}
    assert store.missing_bodies("n1") == []
    store.fold("n1", chain("a", DIGESTS[1]), Position(5, 3), 1.0)
    assert store.cluster().bodies == {DIGESTS[0]: BODIES[0]}
    assert store.missing_bodies("n1") == [DIGESTS[1]]
    store.fold("n1", NodeDelta(gone=(POD,)), Position(5, 4), 1.0)
    assert store.cluster().bodies == {}
    store.put_bodies(BODIES)
    store.replace(whole(), Position(6, 0), 1.0)
    assert store.cluster().bodies == {}
    assert store.missing_bodies("n1") == []


def test_what_is_asked_for_is_forgotten_with_who_needs_it(store: MemoryStore) -> None:
    store.replace(whole(), Position(5, 0), 100)
    seq = 0
    for number in range(300):
        digest = number.to_bytes(16, "big")
        key = NetnsKey("n1", 4, 1000 + number)
        ns = NetnsDelta(key, Netns(key, "passing"), nft_chains=chain("a", digest, key).netns[0].nft_chains)
        seq += 2
        store.fold("n1", NodeDelta(netns=(ns,)), Position(5, seq - 1), 100)
        assert store.bodies_to_ask("n1", 50.0) == (digest,)
        assert store.bodies_to_ask("n1", 54.9) == (), "once, for a while"
        assert store.bodies_to_ask("n1", 55.0) == (digest,)
        store.ask_again([digest], 700.0)
        assert store.bodies_to_ask("n1", 699.0) == ()
        store.fold("n1", NodeDelta(gone=(key,)), Position(5, seq), 100)
    assert store._bodies._missing == {}
    assert store._bodies._count == {}
    store.ask_again([bytes(16)], 900.0)
    assert store._bodies._missing == {}


def test_a_forgotten_node_is_gone_with_its_bodies(store: MemoryStore) -> None:
    store.replace(whole(), Position(5, 0), 1.0)
    store.fold("n1", chain("a", DIGESTS[0]), Position(5, 1), 1.0)
    store.put_bodies(BODIES)
    store.forget("n1")
    assert store.cluster().nodes == store.cluster().bodies == store.node_revisions() == {}


SERVICE = NodeDelta(objects=ObjectsDelta(services=Change((KubeService("shop", "web"),))))


def objects_of(store: MemoryStore, delta: NodeDelta = SERVICE) -> NodeState:
    """Have a cluster's source in the store, beside a node; return its state."""
    store.replace(whole(), Position(5, 0), 1.0)
    source = cluster_source("c1")
    store.set_connected(source, True, 1.0)
    store.replace(NodeState(source, status={"services": SectionStatus(1.0)}), Position(9, 0), 1.0)
    store.fold(source, delta, Position(9, 1), 2.0)
    state = store.state(source)
    assert state is not None
    return state


def test_a_clusters_objects_are_no_node(store: MemoryStore) -> None:
    nodes: list[str] = []
    clusters: list[tuple[str, NodeDelta | None]] = []
    store.subscribe(lambda node, delta, revision: nodes.append(node))
    end = store.subscribe_clusters(lambda source, delta, revision: clusters.append((source, delta)))
    state = objects_of(store)
    assert state.objects.services == {("shop", "web"): KubeService("shop", "web")}
    assert store.cluster().clusters == {"c1": state}
    assert list(store.cluster().nodes) == list(store.node_revisions()) == ["n1"]
    assert {name: one[:4] for name, one in store.cluster_revisions().items()} == {"c1": (2, 2.0, True, True)}
    assert set(nodes) == {"n1"}
    assert clusters == [("cluster/c1", None), ("cluster/c1", None), ("cluster/c1", SERVICE)]
    end()
    before = store.cluster()
    store.fold("n1", sysctl(1), Position(5, 1), 3.0)
    assert store.cluster().clusters is before.clusters, "what a node says changes nothing of it"
    store.report("cluster/c1", CollectorReport("1.0", AgentStatus()), 3.0)
    assert store.collectors() == {}
    store.forget("cluster/c1")
    assert store.cluster().clusters == store.cluster_revisions() == {}
    assert len(clusters) == 3


def test_what_is_refused_of_a_clusters_objects_makes_it_incomplete_until_it_is_told_right(
    store: MemoryStore,
) -> None:
    wrong = put_pods(KubePod("shop", "web-1", ips=(b"",)))
    objects_of(store, sift(wrong))
    assert not store.cluster_revisions()["c1"].complete
    held = store.state("cluster/c1")
    assert held is not None
    right = settle(held, put_pods(KubePod("shop", "web-1")))
    store.fold("cluster/c1", right, Position(9, 2), 3.0)
    assert store.cluster_revisions()["c1"].complete


def put_pods(*pods: KubePod) -> NodeDelta:
    return NodeDelta(objects=ObjectsDelta(kube_pods=Change(pods)))


def test_another_process_follows_a_clusters_objects(open_store: Callable[[], RedisStore]) -> None:
    owner, reader = open_store(), open_store()
    objects_of(owner)
    wait_until(lambda: in_step(owner, reader), 300, "the reader follows")
    for number in range(redis_outbox.COMPACT_DELTAS + 5):
        owner.fold("cluster/c1", put_pods(KubePod("shop", f"web-{number}")), Position(9, 2 + number), 3.0)
    wait_until(lambda: in_step(owner, reader), 300, "the reader follows past the compaction")
    late = open_store()
    assert len(late.cluster().clusters["c1"].objects.kube_pods) == redis_outbox.COMPACT_DELTAS + 5
    owner.forget("cluster/c1")
    wait_until(lambda: in_step(owner, reader), 300, "the reader forgets")
    assert reader.cluster().clusters == {}


def in_step(one: MemoryStore, other: MemoryStore) -> bool:
    return one.cluster() == other.cluster() and one.position("n1") == other.position("n1")


def test_another_process_follows(open_store: Callable[[], RedisStore]) -> None:
    owner, reader = open_store(), open_store()
    seen: list[str] = []
    reader.subscribe(lambda node, delta, revision: seen.append(node))
    now = time.time()
    owner.set_connected("n1", True, now)
    owner.replace(whole(), Position(5, 0), now)
    owner.fold("n1", chain("a", DIGESTS[0]), Position(5, 1), now)
    owner.put_bodies(BODIES[:1])
    owner.set_durable("n1", Position(5, 1))
    owner.report("n1", CollectorReport("1.0", AgentStatus(lost_events=4)), now)
    wait_until(lambda: in_step(owner, reader), 300, "the reader follows")
    for value in range(redis_outbox.COMPACT_DELTAS + 50):
        owner.fold("n1", sysctl(value), Position(5, 2 + value), now)
        if value % 40 == 0:
            wait_until(lambda: in_step(owner, reader), 300, "the reader follows")
    wait_until(lambda: in_step(owner, reader), 300, "the reader follows past the compaction")
    wait_until(lambda: reader.durable("n1") == Position(5, 1), 300, "the reader knows what is durable")
    assert reader.node_revisions() == owner.node_revisions()
    assert reader.collectors() == owner.collectors()
    assert seen
    late = open_store()
    assert in_step(owner, late)
    assert late.cluster().bodies == {DIGESTS[0]: BODIES[0]}


def test_a_node_may_move_to_another_process(open_store: Callable[[], RedisStore]) -> None:
    first, second = open_store(), open_store()
    now = time.time()
    first.set_connected("n1", True, now)
    first.replace(whole(), Position(5, 0), now)
    wait_until(lambda: in_step(first, second), 300, "the second follows")
    second.set_connected("n1", True, now)
    second.fold("n1", sysctl(1), Position(5, 1), now)
    wait_until(lambda: in_step(first, second), 300, "the first follows the new owner")
    first.set_connected("n1", False, now)
    second.fold("n1", sysctl(2), Position(5, 2), now)
    wait_until(lambda: in_step(first, second), 300, "the first still follows")
    wait_until(lambda: first.node_revisions()["n1"].connected, 300, "it is connected, there")


def test_a_forgotten_node_goes_everywhere(open_store: Callable[[], RedisStore]) -> None:
    owner, reader = open_store(), open_store()
    owner.replace(whole(), Position(5, 0), time.time())
    wait_until(lambda: in_step(owner, reader), 300, "the reader follows")
    owner.forget("n1")
    wait_until(lambda: not reader.node_revisions(), 300, "the reader forgets")


def test_an_emptied_redis_is_filled_again(open_store: Callable[[], RedisStore]) -> None:
    owner = open_store()
    now = time.time()
    owner.replace(whole(), Position(5, 0), now)
    wait_until(lambda: owner._redis.exists(redis_records.NODES), 300, "the owner writes")
    real, broken = owner._redis, _Broken(owner._redis)
    owner._redis = broken  # type: ignore[assignment]
    owner.fold("n1", sysctl(1), Position(5, 1), now)
    wait_until(lambda: broken.tried, 300, "the owner meets the failure")
    real.flushall()
    owner._redis = real
    wait_until(lambda: real.exists(redis_records.NODES), 300, "the owner writes again")
    assert in_step(owner, open_store())


def test_a_redis_that_lost_everything_between_two_writes_is_filled_again(
    open_store: Callable[[], RedisStore],
) -> None:
    """It restarted so quickly that no write failed: bodies, bases and idle nodes are missing all the same."""
    owner, reader = open_store(), open_store()
    now = time.time()
    owner.replace(whole(), Position(5, 0), now)
    owner.replace(whole("n2"), Position(6, 0), now)
    owner.fold("n1", chain("forward", DIGESTS[0]), Position(5, 1), now)
    owner.put_bodies(BODIES[:1])
    wait_until(lambda: in_step(owner, reader) and reader.cluster().bodies, 300, "the reader follows")
    owner._redis.flushall()
    owner.fold("n1", sysctl(1), Position(5, 2), now)  # a change whose base is gone

    def held_by_a_newcomer() -> bool:
        assert set(reader.cluster().nodes) == {"n1", "n2"}
        newcomer = open_store()
        return in_step(owner, newcomer) and DIGESTS[0] in newcomer.cluster().bodies

    wait_until(held_by_a_newcomer, 300, "all is in Redis again", every_s=0.3)
    wait_until(lambda: in_step(owner, reader), 300, "who was there follows on")


class _Broken:
    """A Redis that is away for those who write."""

    def __init__(self, real: object) -> None:
        self._real = real
        self.tried = False

    def pipeline(self, **options: object) -> object:
        self.tried = True
        raise redis_store.redis.ConnectionError("away")

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


def test_a_dead_owner_s_nodes_are_lost_until_it_lives_again(
    open_store: Callable[[], RedisStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_leases, "LEASE_S", 0.3)
    monkeypatch.setattr(redis_store, "RENEW_EVERY_S", 0.05)
    owner, reader = open_store(), open_store()
    heard: list[str] = []
    reader.subscribe(lambda node, delta, revision: heard.append(node))
    owner.set_connected("n1", True, time.time())
    owner.replace(whole(), Position(5, 0), time.time())
    wait_until(lambda: in_step(owner, reader), 300, "the reader follows")
    wait_until(lambda: reader.node_revisions()["n1"].connected, 300, "and knows that it is connected")
    renew = owner._leases.renew
    monkeypatch.setattr(owner._leases, "renew", lambda: None)
    del heard[:]
    wait_until(lambda: not reader.node_revisions()["n1"].connected, 300, "the lease ends")
    assert heard == ["n1"], "whoever shows the node is told"
    late = open_store()
    assert not late.node_revisions()["n1"].connected
    assert owner.node_revisions()["n1"].connected
    monkeypatch.setattr(owner._leases, "renew", renew)
    for one in (reader, late):
        wait_until(lambda one=one: one.node_revisions()["n1"].connected, 300, "it lives again")


def test_without_redis_nobody_else_s_node_is_known_to_be_connected(
    open_store: Callable[[], RedisStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_leases, "LOST_S", 0.3)
    monkeypatch.setattr(redis_store, "RENEW_EVERY_S", 0.05)
    owner, reader = open_store(), open_store()
    owner.set_connected("n1", True, time.time())
    owner.replace(whole(), Position(5, 0), time.time())
    wait_until(lambda: in_step(owner, reader), 300, "the reader follows")
    wait_until(lambda: reader.node_revisions()["n1"].connected, 300, "and knows that it is connected")

    def away(*args: object) -> None:
        raise redis_store.redis.ConnectionError("away")

    monkeypatch.setattr(reader._leases, "look", away)
    wait_until(lambda: not reader.node_revisions()["n1"].connected, 300, "nothing is known any more")


def test_who_comes_after_all_died_knows_that_nobody_heard_what_is_left(
    open_store: Callable[[], RedisStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = open_store()
    owner._redis.flushall()
    assert open_store().restored
    owner.replace(whole(), Position(5, 0), time.time())
    wait_until(lambda: owner._redis.hexists(redis_records.NODES, "n1"), 300, "it is written")
    assert not open_store().restored
    owner.close()
    assert open_store().restored


def test_unused_bodies_leave_redis_at_the_second_sweep(open_store: Callable[[], RedisStore]) -> None:
    owner = open_store()
    owner.replace(whole(), Position(5, 0), time.time())
    owner.fold("n1", chain("a", DIGESTS[0]), Position(5, 1), time.time())
    owner.put_bodies(BODIES[:2])
    wait_until(lambda: owner._redis.hlen(redis_records.BODIES) == 2, 300, "the bodies are written")
    owner._sweep_bodies()
    assert owner._redis.hlen(redis_records.BODIES) == 2
    owner._sweep_bodies()
    assert owner._redis.hkeys(redis_records.BODIES) == [DIGESTS[0]]


def test_what_cannot_be_read_in_redis_takes_nothing_else_with_it(
    open_store: Callable[[], RedisStore], caplog: pytest.LogCaptureFixture
) -> None:
    owner, reader = open_store(), open_store()
    owner._redis.hset(redis_records.NODES, "a-bad-one", b"\xc1")
    owner.replace(whole(), Position(5, 0), time.time())
    wait_until(lambda: in_step(owner, reader), 300, "the reader follows the readable node")
    late = open_store()
    assert in_step(owner, late)
    owner._redis.hset(redis_records.BODIES, DIGESTS[0], b"\xc1")
    owner.fold("n1", chain("a", DIGESTS[0]), Position(5, 1), time.time())
    wait_until(lambda: in_step(owner, reader), 300, "the reader follows past an unreadable body")
    assert "cannot read node a-bad-one" in caplog.text


def test_a_failure_of_another_kind_ends_no_thread_of_the_store(
    open_store: Callable[[], RedisStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, reader = open_store(), open_store()
    failed: list[str] = []

    def once(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object) -> object:
            if name not in failed:
                failed.append(name)
                raise KeyError(name)
            return real(*args)

        return call

    monkeypatch.setattr(owner, "_send", once("send", owner._send))
    monkeypatch.setattr(reader, "_refresh", once("refresh", reader._refresh))
    owner.replace(whole(), Position(5, 0), time.time())
    wait_until(lambda: len(failed) == 2 and in_step(owner, reader), 300, "both threads go on")


def test_a_wrong_record_that_redis_holds_already_takes_nothing_down(
    redis_url: str, open_store: Callable[[], RedisStore]
) -> None:
    """An earlier version wrote it: as base and in the log."""
    first = open_store()
    wrong = NodeDelta(netns=(NetnsDelta(KEY, addrs=Change((Addr(2, b"", 24),))),))
    first.set_connected("n1", True, time.time())
    first.replace(apply(whole(), wrong), Position(1, 1), time.time())
    first.fold(
        "n1", NodeDelta(netns=(NetnsDelta(KEY, addrs=Change((Addr(3, b"", 24),))),)), Position(1, 2), 1.0
    )
    second = open_store()
    wait_until(lambda: second.position("n1") == Position(1, 2), 300, "the follower has it")
    state = second.state("n1")
    assert state is not None
    assert not state.netns[KEY].addrs
    assert state.gaps.keys() == {"addrs"}
    assert not second.complete("n1")
