"""What can be done with collectors and API tokens. Pages and commands call these.

A collector is found by its token alone, and the token says for which node it may speak. Approval and
revocation are single conditional updates, so two administrators cannot trip over each other.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync
from django.db import DatabaseError, transaction
from django.utils import timezone

from netviz.groups import channel_layer
from netviz.inventory import audit
from netviz.inventory.access import SCOPES, scopes_of
from netviz.inventory.models import ApiToken, Cluster, Collector, Node
from netviz.inventory.tokens import API_PREFIX, COLLECTOR_PREFIX, new_token, token_hash

log = logging.getLogger("netviz.inventory")

DEFAULT_CLUSTER = "default"
# Writing "last used" at each request would make each read a write.
LAST_USED_STEP = timedelta(minutes=1)


def collector_group(collector_id: int) -> str:
    """Name the channel layer's group in which a collector's socket listens."""
    return f"collector.{collector_id}"


@transaction.atomic
def enrol(
    node_name: str, *, cluster_name: str = DEFAULT_CLUSTER, approve: bool = False
) -> tuple[Collector, str]:
    """Make a collector for a node, which is made too if it isn't known; return it and its token."""
    node = Node.objects.filter(name=node_name).first()
    if node is None:
        cluster, _ = Cluster.objects.get_or_create(name=cluster_name)
        node, _ = Node.objects.get_or_create(name=node_name, defaults={"cluster": cluster})
    return _enrolled(approve, node=node)


@transaction.atomic
def enrol_watcher(cluster_name: str = DEFAULT_CLUSTER, *, approve: bool = False) -> tuple[Collector, str]:
    """Make a collector that speaks for a cluster, which is made too if it isn't known; return it and its token."""
    cluster, _ = Cluster.objects.get_or_create(name=cluster_name)
    return _enrolled(approve, cluster=cluster)


def _enrolled(approve: bool, **whom: Node | Cluster) -> tuple[Collector, str]:
    token = new_token(COLLECTOR_PREFIX)
    collector = Collector.objects.create(**whom, token_hash=token_hash(token), token_hint=token[:8])
    log.info("enrolled a collector for %s", collector.subject)
    if approve:
        approve_collector(collector)
    return collector, token


@transaction.atomic
def approve_collector(collector: Collector) -> bool:
    """Let an enrolled or a revoked collector connect; False when it may already."""
    changed = (
        Collector.objects.filter(pk=collector.pk)
        .exclude(status=Collector.Status.APPROVED)
        .update(status=Collector.Status.APPROVED, approved_at=timezone.now(), revoked_at=None)
    )
    collector.refresh_from_db()
    if changed:
        log.info("approved collector %s", collector)
        audit.record("collector.approve", collector)
    return bool(changed)


@transaction.atomic
def revoke_collector(collector: Collector) -> bool:
    """Take a collector's right away, until it is approved again, and cut its connection; False when that was done before.

    What it said of its node leaves some time after, if no other collector may speak for the node.
    """
    changed = (
        Collector.objects.filter(pk=collector.pk)
        .exclude(status=Collector.Status.REVOKED)
        .update(status=Collector.Status.REVOKED, revoked_at=timezone.now())
    )
    collector.refresh_from_db()
    if changed:
        log.info("revoked collector %s", collector)
        audit.record("collector.revoke", collector)
        transaction.on_commit(partial(_cut_collector, collector.pk))
    return bool(changed)


def _cut_collector(collector_id: int) -> None:
    async_to_sync(channel_layer().group_send)(collector_group(collector_id), {"type": "collector.revoked"})


def waiting_collectors() -> int:
    """Count the collectors that were enrolled and that nobody has approved yet."""
    return Collector.objects.filter(status=Collector.Status.ENROLLED).count()


def revoke_node(node_name: str) -> int:
    """Revoke every collector of a node; return how many there were."""
    collectors = Collector.objects.filter(node__name=node_name).exclude(status=Collector.Status.REVOKED)
    return sum(revoke_collector(collector) for collector in collectors)


def revoke_watchers(cluster_name: str) -> int:
    """Revoke every collector that speaks for a cluster; return how many there were."""
    collectors = Collector.objects.filter(cluster__name=cluster_name).exclude(status=Collector.Status.REVOKED)
    return sum(revoke_collector(collector) for collector in collectors)


def find_collector(token: str) -> Collector | None:
    """Find the collector that a token belongs to, whatever its status."""
    return Collector.objects.select_related("node", "cluster").filter(token_hash=token_hash(token)).first()


class TokenRefused(Exception):
    """An API token opens nothing; the message says why in one sentence. `record` is it, if it is known."""

    def __init__(self, reason: str, record: ApiToken | None = None) -> None:
        super().__init__(reason)
        self.record = record


@transaction.atomic
def make_api_token(
    user: Any, name: str, *, scopes: Collection[str] | None = None, expires_at: datetime | None = None
) -> tuple[ApiToken, str]:
    """Make an API token for a person, by default with all scopes of their role; return it and its text.

    Raises: ValueError for a scope that the person's role doesn't have.
    """
    held = scopes_of(user)
    wanted = held if scopes is None else [scope for scope in SCOPES if scope in scopes]
    if excess := set(scopes or ()) - set(held):
        raise ValueError(f"the role of {user} doesn't have the scope {', '.join(sorted(excess))}")
    token = new_token(API_PREFIX)
    record = ApiToken.objects.create(
        user=user,
        name=name,
        scopes=wanted,
        expires_at=expires_at,
        token_hash=token_hash(token),
        token_hint=token[:8],
    )
    return record, token


@transaction.atomic
def revoke_api_token(record: ApiToken) -> bool:
    """Make an API token worthless; False when it was already. Its open sockets are cut by `sockets`."""
    changed = ApiToken.objects.filter(pk=record.pk, revoked_at=None).update(revoked_at=timezone.now())
    if changed:
        audit.record("token.revoke", record)
    return bool(changed)


def use_api_token(text: str) -> ApiToken:
    """Find the valid API token that this text is, and note its use. Raises: TokenRefused."""
    record = ApiToken.objects.select_related("user").filter(token_hash=token_hash(text)).first()
    now = timezone.now()
    if record is None:
        raise TokenRefused("the token is unknown")
    if problem := record.problem(now):
        raise TokenRefused(problem, record)
    if record.last_used_at is None or now - record.last_used_at > LAST_USED_STEP:
        try:
            ApiToken.objects.filter(pk=record.pk).update(last_used_at=now)
        except DatabaseError as err:  # a full disk: reading goes on
            log.warning("cannot note the use of an API token: %s", err)
    return record
