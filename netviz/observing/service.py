"""An observation is asked for: checked, recorded, queued, and begun."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from netviz.inventory import audit
from netviz.observing import captures, drops, running
from netviz.observing.captures import CaptureRequest
from netviz.observing.drops import DropRequest
from netviz.observing.models import Observation
from netviz.observing.queue import LEASE, end_lapsed, unfinished
from netviz.observing.request import ObserveRequest, check_flow
from netviz.tracing.predict import predict, resolve
from netviz.tracing.service import Overload
from netviz.tracing.states import live

MAX_UNFINISHED = 50
MAX_OF_ONE = 10
KEEP = 2000
KEEP_FILES = 50


class SwitchedOff(Exception):
    """This server sends no probes; the message says so in one sentence."""


def start(user: Any, request: ObserveRequest, posted: dict[str, Any]) -> Observation:
    """Queue a probe; it begins at once when nobody watches its nodes.

    Raises: SwitchedOff; BadRequest and CannotTrace when it can't be sent so; Overload.
    """
    _check_switch()
    view = live()
    resolved = resolve(request, view)
    check_flow(request, resolved.flow)
    nodes, _ = running.choose_nodes(predict(resolved), view)
    made = Observation(source=request.source, target=request.target, proto=request.proto, nodes=nodes)
    _queue(user, made, posted)
    running.start(made.pk, request)
    return Observation.objects.select_related("user").get(pk=made.pk)


def watch_drops(user: Any, request: DropRequest, posted: dict[str, Any]) -> Observation:
    """Queue a drop watch; it begins at once when nobody watches its node. Raises: as `start`."""
    _check_switch()
    nodes = [drops.watched(request, live()).key.node]
    made = Observation(kind=Observation.Kind.DROPS, source=request.target, nodes=nodes)
    _queue(user, made, posted)
    drops.begin(made.pk, request)
    return Observation.objects.select_related("user").get(pk=made.pk)


def capture(user: Any, request: CaptureRequest) -> Observation:
    """Queue a capture; it begins at once when nobody watches its nodes. Raises: as `start`."""
    _check_switch()
    plan = captures.plan_of(request, live())
    made = Observation(kind=Observation.Kind.CAPTURE, source=plan.title[:300], nodes=plan.nodes)
    _queue(user, made, dict(captures.posted_of(request)))
    captures.delete_old()
    captures.begin(made.pk, request)
    return Observation.objects.select_related("user").get(pk=made.pk)


def _check_switch() -> None:
    if not settings.OBSERVE:
        raise SwitchedOff("this server doesn't observe: start it with NETVIZ_OBSERVE=1")


def _queue(user: Any, made: Observation, posted: dict[str, Any]) -> None:
    """Record an observation, and in the audit who asked for it. Raises: Overload."""
    end_lapsed()
    if unfinished().count() >= MAX_UNFINISHED or unfinished().filter(user=user).count() >= MAX_OF_ONE:
        raise Overload("too many observations wait already; try again in a few seconds")
    made.user, made.request = user, posted
    with transaction.atomic():
        made.lease_until = timezone.now() + LEASE
        made.save()
        what = "observation.start" if made.kind == Observation.Kind.PROBE else f"{made.kind}.start"
        audit.record(what, made, id=str(made.pk), request=posted, nodes=made.nodes)
    _delete_old()


def _delete_old() -> None:
    """Keep the newest, and of files those of the newest that differ."""
    first = Observation.objects.order_by("-pk").values_list("pk", flat=True)[KEEP : KEEP + 1].first()
    if first is not None:
        Observation.objects.filter(pk__lte=first).delete()
    files = Observation.objects.filter(kept_bytes__gt=0).order_by("-pk")
    last = files.values_list("pk", flat=True)[KEEP_FILES : KEEP_FILES + 1].first()
    if last is not None:
        files.filter(pk__lte=last).update(kept=None, kept_bytes=0)
