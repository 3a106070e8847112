"""What people do with a problem: acknowledge it, mute it until a date, say something about it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from msgspec import Meta

from netviz.core.model.check import decoder_words
from netviz.core.plain import plain
from netviz.inventory import audit
from netviz.problems.leadership import ROW
from netviz.problems.models import Checking, Problem, Remark

LONGEST_MUTE = timedelta(days=366)
Kind = Remark.Kind


class BadAction(ValueError):
    """It can't be done; the message is one sentence for people."""


class ProblemAction(msgspec.Struct):
    """What `POST /api/problems/ID` takes. `until` belongs to "mute", and only to it."""

    action: Literal["acknowledge", "reopen", "mute", "unmute", "comment"]
    text: Annotated[str, Meta(max_length=2000)] = ""
    until: datetime | None = None


_decoder = msgspec.json.Decoder(ProblemAction)


def parse_action(body: bytes) -> ProblemAction:
    """Read a posted action. Raises: BadAction."""
    try:
        action = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise BadAction(f"the request cannot be read: {decoder_words(err)}") from None
    if action.action == "comment" and not action.text.strip():
        raise BadAction("a comment needs a text")
    if (action.action == "mute") != (action.until is not None):
        raise BadAction('"mute" needs "until", a time such as 2026-12-31T18:00:00Z, and nothing else has it')
    return action


def act(problem: Problem, action: ProblemAction, user: Any) -> None:
    """Do it, and record who did. Raises: BadAction."""
    now, name = timezone.now(), user.get_username()[:150]
    fields, kind = _fields(action, name, now)
    text = plain(action.text.strip())
    if action.until is not None:
        text = f"until {_utc(action.until):%Y-%m-%d %H:%M} UTC{': ' if text else ''}{text}"
    with transaction.atomic():
        if fields:
            Problem.objects.filter(pk=problem.pk).update(**fields)
        Remark.objects.create(problem=problem, at=now, by=name, kind=kind, text=text[:2000])
        audit.record(f"problem.{action.action}", problem.headline, id=str(problem.pk), text=text)
        Checking.objects.filter(pk=ROW).update(version=F("version") + 1)


def _fields(action: ProblemAction, name: str, now: datetime) -> tuple[dict[str, Any], str]:
    match action.action:
        case "acknowledge":
            return {"acknowledged_at": now, "acknowledged_by": name}, Kind.ACKNOWLEDGED
        case "reopen":
            return {"acknowledged_at": None, "acknowledged_by": ""}, Kind.REOPENED
        case "mute":
            assert action.until is not None
            until = _utc(action.until)
            if not now < until <= now + LONGEST_MUTE:
                raise BadAction("mute until a time in the future, at most a year from now")
            return {"muted_until": until, "muted_by": name}, Kind.MUTED
        case "unmute":
            return {"muted_until": None, "muted_by": ""}, Kind.UNMUTED
        case _:
            return {}, Kind.COMMENT


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
