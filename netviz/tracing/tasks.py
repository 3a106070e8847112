"""Celery tasks: run by the worker inside the server process, or by any number of others."""

from __future__ import annotations

from celery import shared_task

from netviz.tracing.service import execute


@shared_task(name="netviz.tracing.run_trace", acks_late=True)
def run_trace(trace_id: int, at_least: dict[str, int] | None = None) -> None:
    """Run one trace, on states that are at least as new as these revisions: node -> revision."""
    execute(trace_id, at_least or {})
