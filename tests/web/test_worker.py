"""The worker inside the server ends at once, and not before its tasks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection
from redis.exceptions import ConnectionError as ConnectionLost

from lab.stack import ROOT, wait_until
from netviz.broker import Channel, Transport
from netviz.celery import InProcessWorker, app

FOR_EVER_S = 3600.0
began, may_end, ended = threading.Event(), threading.Event(), threading.Event()


@app.task(name="tests.long")
def long_task() -> None:
    """Take as long as the test says."""
    began.set()
    may_end.wait()
    ended.set()


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[InProcessWorker]:
    """A worker that takes tasks, and looks up from its queue for a message only, not every 2 s."""
    drain = Connection.drain_events

    def wait_for_a_message(self: Connection, timeout: float) -> None:
        drain(self, timeout=FOR_EVER_S if threading.current_thread().name == "celery-worker" else timeout)

    monkeypatch.setattr(Connection, "drain_events", wait_for_a_message)
    for event in (began, may_end, ended):
        event.clear()
    worker = InProcessWorker()
    worker.start()
    wait_until(lambda: app.control.ping(timeout=0.1), 300, "the worker answers")
    yield worker
    worker.stop()


def test_an_idle_worker_ends_at_once(worker: InProcessWorker) -> None:
    thread = worker._thread
    assert thread is not None
    assert thread.is_alive()
    worker.stop(60)
    assert not thread.is_alive()
    assert not worker.alive


def test_a_running_task_is_finished_first(worker: InProcessWorker) -> None:
    long_task.delay()
    assert began.wait(300)
    stopping = threading.Thread(target=worker.stop, args=(60,))
    stopping.start()
    assert not ended.is_set()
    may_end.set()
    stopping.join()
    assert ended.is_set()


def test_a_channel_of_a_lost_connection_says_that_it_is_lost() -> None:
    """Any other error than a connection's ends a worker instead of making it connect again."""
    channel = Channel.__new__(Channel)
    for lost in (None, type("Closed", (), {"client": None})):
        channel.connection = lost
        with pytest.raises(ConnectionLost) as raised:
            _ = channel._connparams()
        assert isinstance(raised.value, Transport.connection_errors)
    assert Transport.Channel is Channel
    channel._closed = True  # it never had anything to close


def test_a_worker_process_without_redis_ends_with_a_sentence(tmp_path: Path) -> None:
    """It would wait for ever, and look well."""
    env = {**os.environ, "NETVIZ_REDIS_URL": "", "NETVIZ_VAR_DIR": str(tmp_path)}
    argv = [sys.executable, "-m", "celery", "-A", "netviz", "worker"]
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "a worker needs NETVIZ_REDIS_URL" in done.stderr
    assert "Traceback" not in done.stderr
