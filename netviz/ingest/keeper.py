"""The keeper: a thread that brings the collectors' status into the database, and revocations out of it.

The live store knows how each collector does at this moment; the admin pages read the database.
Writing each heartbeat there would be hundreds of transactions a second, so the keeper writes what
changed in one, every second or, with many collectors, every few. It also looks, every second, for
connected collectors that were revoked or deleted by another process, whose word on the channel
layer may not reach this one, and for nodes whose state has to leave (departures.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from typing import Any

from django.db import DatabaseError, close_old_connections, connection, transaction
from django.utils import timezone
from redis.exceptions import RedisError

from netviz.ingest.connections import connections
from netviz.ingest.departures import departures
from netviz.ingest.live_store import get_store
from netviz.inventory.models import Collector
from netviz.parts import DATABASE_AWAY

log = logging.getLogger("netviz.ingest")

LOOK_EVERY_S = 1.0
# What a value that doesn't fit its column raises, in the database or on the way to it.
UNWRITABLE = (DatabaseError, ValueError, TypeError, ArithmeticError)
# Writing takes at most this share of the time, unless the database is so slow that the pages would grow old.
WRITE_SHARE = 0.01
MAX_REST_S = 10.0


class Keeper:
    """Status in, revocations out."""

    def __init__(self) -> None:
        self._noted: dict[int, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing = False

    def start(self) -> None:
        """Start; nobody is connected yet."""
        self._stop.clear()
        Collector.objects.filter(connected=True).update(connected=False)
        connection.close()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what is noted and end."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None

    def note(self, collector_id: int, **fields: Any) -> None:
        """Note a collector's status, to be written soon."""
        with self._lock:
            self._noted.setdefault(collector_id, {}).update(fields, last_seen_at=timezone.now())

    def _run(self) -> None:
        rest_until = 0.0
        try:
            while not self._stop.wait(LOOK_EVERY_S):
                try:
                    self._look()
                    began = time.monotonic()
                    if began >= rest_until:
                        self._write()
                        rest_until = began + rest_s(time.monotonic() - began)
                except Exception:
                    log.exception("the keeper failed, and goes on")
            self._write()
        finally:
            connection.close()

    def _look(self) -> None:
        try:
            close_old_connections()
            self._look_for_revoked()
            departures.look(get_store(), time.time())
        except (DatabaseError, RedisError) as err:
            self._failed("look for revoked collectors", err)

    def _look_for_revoked(self) -> None:
        connected = connections.all()
        if not connected:
            return
        approved = set(
            Collector.objects.filter(status=Collector.Status.APPROVED).values_list("pk", flat=True)
        )
        for one in connected:
            if one.collector_id not in approved:
                one.cut("revoked", "this collector was revoked")

    def _write(self) -> None:
        with self._lock:
            noted, self._noted = self._noted, {}
        if not noted:
            return
        try:
            close_old_connections()
            _update_collectors(noted)
            self._failing = False
        except DATABASE_AWAY as err:
            self._failed("write the collectors' status", err)
            with self._lock:
                for collector_id, fields in noted.items():
                    self._noted[collector_id] = {**fields, **self._noted.get(collector_id, {})}
        except UNWRITABLE as err:
            log.error("cannot write the collectors' status at once, trying one by one: %s", err)
            for collector_id, fields in noted.items():
                self._write_one(collector_id, fields)

    def _failed(self, what: str, err: Exception) -> None:
        """Say what cannot be done, once until it can be."""
        if not self._failing:
            log.error("cannot %s, trying until it works: %s", what, err)
        self._failing = True

    def _write_one(self, collector_id: int, fields: dict[str, Any]) -> None:
        """Write one collector's status, so that one that cannot be written takes no other with it."""
        try:
            _update_collectors({collector_id: fields})
        except UNWRITABLE as err:
            log.error("cannot write the status of collector %d: %s", collector_id, err)


def rest_s(took_s: float) -> float:
    """Seconds until the next write, after one that took so long."""
    return min(took_s / WRITE_SHARE, MAX_REST_S)


def _update_collectors(noted: dict[int, dict[str, Any]]) -> None:
    """Update the rows in one transaction, one statement for all that say the same fields.

    Hundreds of rows every few seconds: the ORM's bulk_update costs a hundred times as much.
    """
    rows: dict[tuple[str, ...], list[list[Any]]] = defaultdict(list)
    for collector_id, fields in noted.items():
        values = [_field(name).get_db_prep_save(value, connection) for name, value in fields.items()]
        rows[tuple(fields)].append([*values, collector_id])
    quote = connection.ops.quote_name
    table_name = quote(Collector._meta.db_table)
    with transaction.atomic(), connection.cursor() as cursor:
        for names, values in rows.items():
            columns = ", ".join(f"{quote(_field(name).column)} = %s" for name in names)
            cursor.executemany(f"UPDATE {table_name} SET {columns} WHERE id = %s", values)


def _field(name: str) -> Any:
    return Collector._meta.get_field(name)


keeper = Keeper()
