"""The ledger's problems in the database: written as a report changes them, and read back after a restart."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.db import transaction
from django.db.models import BooleanField, ExpressionWrapper, F, Q
from django.utils import timezone

from netviz.core.check.problem import Problem as Found
from netviz.problems.leadership import Leadership
from netviz.problems.ledger import Kept, Step
from netviz.problems.models import Problem, Remark

log = logging.getLogger("netviz.problems")

KEEP_FOR = timedelta(days=30)
KEEP_ENDED = 20_000
# What comes and goes all day long says so this often, and counts the rest.
MOST_RETURNS_TOLD = 20
MAX_KEY = 200
_encode = msgspec.json.Encoder().encode


def key_of(found: Found) -> str:
    """A problem's key as the database keeps it: of a long one, its beginning and a digest of all."""
    key = found.key
    if len(key) <= MAX_KEY:
        return key
    return f"{key[: MAX_KEY - 33]}:{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}"


def load() -> list[Kept]:
    """The problems that aren't over. One that can't be read any more is ended: who finds it again makes a new one."""
    kept = []
    traced = ExpressionWrapper(Q(packed__isnull=False), BooleanField())
    for row in Problem.objects.filter(ended_at=None).annotate(traced=traced).defer("packed"):
        try:
            found = row.found
        except msgspec.MsgspecError as err:
            log.warning("problem %d was kept by another version and is ended: %s", row.pk, err)
            Problem.objects.filter(pk=row.pk).update(ended_at=timezone.now())
            continue
        kept.append(
            Kept(
                found,
                row.found_at.timestamp(),
                _seconds(row.began_at),
                _seconds(row.gone_at),
                row.returns,
                row.unverified,
                row.pk,
                row.traced,
                [(float(at_s), int(pairs)) for at_s, pairs in row.curve],
            )
        )
    return kept


def write(lead: Leadership, steps: Sequence[Step], **checking: Any) -> None:
    """Write what a report changed, and how the checking is, at once. Raises: LostLead, and then nothing is written."""
    changed = {id(step.kept): step.kept for step in steps}
    ended = {id(step.kept) for step in steps if step.what == "ended"}
    new = [kept for kept in changed.values() if kept.row is None]
    try:
        with transaction.atomic():
            if changed:
                checking["version"] = F("version") + 1
            lead.write(**checking)
            now_s = timezone.now().timestamp()
            for key, kept in changed.items():
                kept.plot(now_s)
                _put(kept, key in ended)
            Remark.objects.bulk_create(
                Remark(problem_id=step.kept.row, at=_time(_at(step)), kind=step.what)
                for step in steps
                if step.what != "changed" and step.kept.returns <= MOST_RETURNS_TOLD and step.kept.row
            )
    except BaseException:
        for kept in new:
            kept.row = None
        raise


def put_traces(lead: Leadership, traces: Mapping[int, bytes]) -> None:
    """Write the traces that are problems' evidence: row -> packed. Raises: LostLead."""
    with transaction.atomic():
        lead.write(version=F("version") + 1)
        for row, packed in traces.items():
            Problem.objects.filter(pk=row).update(packed=packed)


def delete_old() -> int:
    """Delete what ended before KEEP_FOR, and all but the KEEP_ENDED that ended last; return how many."""
    ended = Problem.objects.exclude(ended_at=None)
    deleted = ended.filter(ended_at__lt=timezone.now() - KEEP_FOR).delete()[0]
    first = (
        ended.order_by("-ended_at").values_list("ended_at", flat=True)[KEEP_ENDED : KEEP_ENDED + 1].first()
    )
    if first is not None:
        deleted += ended.filter(ended_at__lte=first).delete()[0]
    return deleted


def _put(kept: Kept, ended: bool) -> None:
    found = kept.found
    fields: dict[str, Any] = {
        "severity": found.severity,
        "harm": found.harm,
        "certainty": found.certainty,
        "headline": found.headline[:300],
        "node": found.where.node[:253],
        "pairs": found.affects.pairs,
        "body": _encode(found).decode(),
        "gone_at": _maybe(kept.gone_s),
        "ended_at": _maybe(kept.gone_s) if ended else None,
        "returns": kept.returns,
        "unverified": kept.unverified[:300],
        "curve": kept.curve,
    }
    if kept.row is None:
        kept.row = Problem.objects.create(
            key=key_of(found),
            kind=found.kind[:64],
            found_at=_time(kept.found_s),
            began_at=_maybe(kept.began_s),
            **fields,
        ).pk
    else:
        Problem.objects.filter(pk=kept.row).update(**fields)


def _at(step: Step) -> float:
    """When a step was, as far as the kept problem says."""
    if step.what == "found":
        return step.kept.found_s
    return step.kept.gone_s if step.kept.gone_s is not None else timezone.now().timestamp()


def _time(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


def _maybe(at_s: float | None) -> datetime | None:
    return None if at_s is None else _time(at_s)


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()
