"""The worker inside the server ends at once, and not before its tasks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from lab.stack import wait_until
from netviz.celery import InProcessWorker, app

PROMPT_S = 1.0
began, may_end, ended = threading.Event(), threading.Event(), threading.Event()


@app.task(name="tests.long")
def long_task() -> None:
    """Take as long as the test says."""
    began.set()
    may_end.wait(10)
    ended.set()


@pytest.fixture
def worker() -> Iterator[InProcessWorker]:
    """A worker that takes tasks."""
    for event in (began, may_end, ended):
        event.clear()
    worker = InProcessWorker()
    worker.start()
    wait_until(lambda: app.control.ping(timeout=0.1), 10, "the worker answers")
    yield worker
    worker.stop()


def test_an_idle_worker_ends_at_once(worker: InProcessWorker) -> None:
    time.sleep(0.1)  # it waits for messages again
    since = time.monotonic()
    worker.stop()
    assert time.monotonic() - since < PROMPT_S
    assert not worker.alive


def test_a_running_task_is_finished_first(worker: InProcessWorker) -> None:
    long_task.delay()
    assert began.wait(10)
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    assert not ended.is_set()
    may_end.set()
    since = time.monotonic()
    stopping.join()
    assert ended.is_set()
    assert time.monotonic() - since < PROMPT_S
