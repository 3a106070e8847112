"""Problems told to a webhook, in the payload (version 4) that Alertmanager sends to its receivers.

The database says what the receiver was told last of each problem. A thread of the process that judges looks what is due:
a problem that has stood for FIRE_AFTER_S and isn't muted fires; one that was told and is over is resolved. What isn't taken
(any answer but 2xx, or none) is sent again, after a wait that doubles. So each is told at least once, and a problem
that flaps is told once: its end is believed late (ledger.py).

The address comes from the environment alone, redirects aren't followed, and what the receiver answers is not kept.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from http.client import HTTPException
from typing import Any

import msgspec
from django.conf import settings
from django.db import connection
from django.db.models import F, Q
from django.utils import timezone

from netviz.core.check.text import counted
from netviz.parts import AWAY
from netviz.problems.leadership import ROW, Leadership
from netviz.problems.models import Checking, Problem
from netviz.problems.shown import problem_json

log = logging.getLogger("netviz.problems")

FIRE_AFTER_S = 15.0
LOOK_EVERY_S = 2.0
TIMEOUT_S = 10.0
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 300.0
MOST_ALERTS = 100
# What stands for "not over yet" in the payload: Go's zero time.
NEVER = "0001-01-01T00:00:00Z"
FIRING, RESOLVED = "firing", "resolved"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like any other that isn't 2xx: the administrator named one address."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def due(now: datetime) -> list[Problem]:
    """The problems of which the receiver doesn't know the newest, the oldest first."""
    stands = Q(told="", ended_at=None, gone_at=None, found_at__lte=now - timedelta(seconds=FIRE_AFTER_S)) & (
        Q(muted_until=None) | Q(muted_until__lte=now)
    )
    over = Q(told=FIRING) & ~Q(ended_at=None)
    return list(Problem.objects.filter(stands | over).defer("packed").order_by("pk")[:MOST_ALERTS])


def payload(problems: Sequence[Problem], now: datetime) -> dict[str, Any]:
    """The body of one request."""
    alerts = [_alert(one, now) for one in problems]
    firing = any(alert["status"] == FIRING for alert in alerts)
    return {
        "version": "4",
        "groupKey": '{}:{source="netviz"}',
        "truncatedAlerts": 0,
        "status": FIRING if firing else RESOLVED,
        "receiver": "netviz",
        "groupLabels": {"source": "netviz"},
        "commonLabels": _common([alert["labels"] for alert in alerts]),
        "commonAnnotations": _common([alert["annotations"] for alert in alerts]),
        "externalURL": settings.EXTERNAL_URL,
        "alerts": alerts,
    }


def _alert(row: Problem, now: datetime) -> dict[str, Any]:
    shown = problem_json(row, now)
    where, affects = shown["where"], shown["affects"]
    labels = {
        "alertname": row.kind,
        "source": "netviz",
        "severity": row.severity,
        "harm": row.harm,
        "certainty": row.certainty,
        "problem": str(row.pk),
        **{name: where[name] for name in ("node", "netns", "dev") if where[name]},
    }
    pods = counted(len(affects["pods"]) + affects["more"], "pod")
    pairs = counted(affects["pairs"], "pair") + " of pods, " if affects["pairs"] else ""
    annotations = {
        "summary": row.headline,
        "description": shown["consequence"],
        "affected": f"{pairs}{pods}",
        **{
            what: "\n".join(f"{one['node']}: {one['command']}" for one in shown[what])
            for what in ("check", "fix")
            if shown[what]
        },
    }
    return {
        "status": RESOLVED if row.ended_at is not None else FIRING,
        "labels": labels,
        "annotations": annotations,
        "startsAt": (row.began_at or row.found_at).isoformat(),
        "endsAt": NEVER if row.ended_at is None else row.ended_at.isoformat(),
        "generatorURL": f"{settings.EXTERNAL_URL}/#/problems/{row.pk}",
        "fingerprint": hashlib.blake2b(f"{row.pk}:{row.key}".encode(), digest_size=8).hexdigest(),
    }


def _common(all_: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """What all have, with the same value."""
    first = all_[0] if all_ else {}
    return {name: value for name, value in first.items() if all(one.get(name) == value for one in all_)}


def post(body: Mapping[str, Any]) -> str:
    """Send a payload; say in a line why it wasn't taken, "" when it was."""
    headers = {"Content-Type": "application/json", "User-Agent": "netviz"}
    if settings.WEBHOOK_TOKEN:
        headers["Authorization"] = f"Bearer {settings.WEBHOOK_TOKEN}"
    request = urllib.request.Request(settings.WEBHOOK_URL, msgspec.json.encode(body), headers, method="POST")
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_S) as answer:
            return "" if 200 <= answer.status < 300 else f"it answered {answer.status}"
    except urllib.error.HTTPError as err:
        err.close()
        return f"it answered {err.code}"
    except (OSError, HTTPException, ValueError) as err:
        return f"{type(err).__name__}: {err}"[:200]


class Webhook:
    """The thread of the process that leads."""

    def __init__(self, lead: Leadership) -> None:
        self._lead = lead
        self._stop = threading.Event()
        self._failures = 0
        self._rest_until_s = 0.0

    def start(self) -> None:
        """Begin, if there is a receiver."""
        if settings.WEBHOOK_URL:
            threading.Thread(target=self._run, name="webhook", daemon=True).start()

    def stop(self) -> None:
        """End."""
        self._stop.set()

    def turn(self) -> None:
        """Send what is due, unless the receiver has to be left alone for a while. Raises: one of AWAY."""
        if not self._lead.lasts or time.monotonic() < self._rest_until_s:
            return
        now = timezone.now()
        problems = due(now)
        if not problems:
            return
        error = post(payload(problems, now))
        if error:
            self._failed(error)
            return
        for told in (FIRING, RESOLVED):
            keys = [one.pk for one in problems if (one.ended_at is not None) == (told == RESOLVED)]
            Problem.objects.filter(pk__in=keys).update(told=told)
        if self._failures:
            log.warning("the webhook is taken again, after %d failures", self._failures)
        self._failures = 0
        Checking.objects.filter(pk=ROW).update(hook_sent=F("hook_sent") + len(problems), hook_error="")

    def _failed(self, error: str) -> None:
        wait_s = min(FIRST_RETRY_S * 2.0**self._failures, LONGEST_RETRY_S)
        if not self._failures:
            log.error("the webhook is not taken, trying until it is: %s", error)
        self._failures = min(self._failures + 1, 20)
        self._rest_until_s = time.monotonic() + wait_s
        Checking.objects.filter(pk=ROW).update(hook_failures=F("hook_failures") + 1, hook_error=error[:200])

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            try:
                self.turn()
            except AWAY as err:
                log.debug("the webhook waits for what is away: %s", err)  # the rounds say it
            except Exception:
                log.exception("the webhook failed, and goes on")
            finally:
                connection.close()
