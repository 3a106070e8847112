"""An observation is asked for: checked, recorded, queued, and begun."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from netviz.inventory import audit
from netviz.observing import running
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
    """Queue an observation; it begins at once when nobody watches its nodes.

    Raises: SwitchedOff; BadRequest and CannotTrace when it can't be sent so; Overload.
    """
    if not settings.OBSERVE:
        raise SwitchedOff("this server doesn't observe: start it with NETVIZ_OBSERVE=1")
    view = live()
    resolved = resolve(request, view)
    check_flow(request, resolved.flow)
    nodes, _ = running.choose_nodes(predict(resolved), view)
    end_lapsed()
    if unfinished().count() >= MAX_UNFINISHED or unfinished().filter(user=user).count() >= MAX_OF_ONE:
        raise Overload("too many observations wait already; try again in a few seconds")
    with transaction.atomic():
        observation = Observation.objects.create(
            user=user,
            request=posted,
            source=request.source,
            target=request.target,
            proto=request.proto,
            nodes=nodes,
            lease_until=Now() + LEASE,
        )
        audit.record("observation.start", observation, id=str(observation.pk), request=posted, nodes=nodes)
    _delete_old()
    running.start(observation.pk, request)
    return Observation.objects.select_related("user").get(pk=observation.pk)


def _delete_old() -> None:
    """Keep the newest, and of files those of the newest that differ."""
    first = Observation.objects.order_by("-pk").values_list("pk", flat=True)[KEEP : KEEP + 1].first()
    if first is not None:
        Observation.objects.filter(pk__lte=first).delete()
    files = Observation.objects.filter(kept_bytes__gt=0).order_by("-pk")
    last = files.values_list("pk", flat=True)[KEEP_FILES : KEEP_FILES + 1].first()
    if last is not None:
        files.filter(pk__lte=last).update(kept=None, kept_bytes=0)
