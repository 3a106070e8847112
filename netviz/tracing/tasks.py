"""Celery tasks: run by the worker inside the server process, or by any number of others."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from celery import shared_task

from netviz.parts import AWAY
from netviz.tracing.execution import execute

log = logging.getLogger("netviz.tracing")


@shared_task(name="netviz.tracing.run_trace", acks_late=True)
def run_trace(trace_id: int, at_least: dict[str, int] | None = None) -> None:
    """Run one trace, on states that are at least as new as these revisions: node -> revision."""
    try:
        execute(trace_id, at_least or {})
    except AWAY as err:
        log.warning("trace %d is left to the tenders: %s", trace_id, err)


def send(trace_id: int, at_least: Mapping[str, int] | None = None) -> None:
    """Tell the workers that a run waits. Raises: when the queue cannot be reached."""
    # A connection may have been cut since it was used last, so once more is tried, at once.
    run_trace.apply_async((trace_id, dict(at_least or {})), retry_policy={"max_retries": 1})
