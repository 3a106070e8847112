"""What goes on while things break: changes in the lab, traces asked for, pages read."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections import Counter

from lab.churn import ChurnReport, run_churn
from tests.chaos.site import Server, Site

CHANGES_PER_S = 80.0
TRACE_EVERY_S = 0.5
READ_EVERY_S = 0.25
NO_ANSWER = 0
PATHS = ("/api/topology", "/login/", "/", "/admin/", "/api/traces?limit=5", "/healthz", "/metrics")


class Churning:
    """Churn until it is stopped; all that it made is removed then."""

    def __init__(self, site: Site, seed: int) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(site, seed), daemon=True)
        self.report: ChurnReport | None = None
        self._thread.start()

    def _run(self, site: Site, seed: int) -> None:
        self.report = run_churn(site.cluster, CHANGES_PER_S, 3600, seed, self._stop)

    def stop(self) -> ChurnReport:
        """End it and say how it went."""
        self._stop.set()
        self._thread.join()
        assert self.report is not None
        return self.report


class Asking:
    """Asks for traces and reads pages, of each server in turn, and counts the answers."""

    def __init__(self, site: Site, seed: int) -> None:
        self._site = site
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self.accepted: list[int] = []
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []
        work = ((self._trace, TRACE_EVERY_S), (self._read, READ_EVERY_S))
        self._threads = [
            threading.Thread(target=self._repeat, args=(call, every_s, server), daemon=True)
            for call, every_s in work
            for server in site.servers
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, call: object, every_s: float, server: Server) -> None:
        for number in itertools.count():
            if self._stop.wait(every_s):
                return
            call(server, number)  # type: ignore[operator]

    def _trace(self, server: Server, number: int) -> None:
        pods = self._site.pods
        source, target = pods[number % len(pods)], pods[(number * 5 + 1) % len(pods)]
        body = json.dumps({"from": source, "to": target}).encode()
        status, answer = self._ask(server, "/api/traces", body)
        if status == 202:
            self.accepted.append(int(json.loads(answer)["id"]))

    def _read(self, server: Server, number: int) -> None:
        self._ask(server, PATHS[number % len(PATHS)])

    def _ask(self, server: Server, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {server.access.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(server.access.url + path, body, headers)
        began = time.monotonic()
        try:
            with urllib.request.urlopen(request, timeout=40) as answer:
                status, said = answer.status, answer.read()
        except urllib.error.HTTPError as err:
            status, said = err.code, err.read()
            if status == 503 and "Retry-After" not in err.headers:
                self.wrong.append(f"{path}: 503 without Retry-After")
        except (OSError, ValueError):
            status, said = NO_ANSWER, b""
        except Exception as err:  # noqa: BLE001 - a server that is killed ends its answers anywhere
            status, said = NO_ANSWER, repr(err).encode()
        self.statuses[status] += 1
        if status not in (200, 202, 503, NO_ANSWER):
            self.wrong.append(f"{path}: {status} after {time.monotonic() - began:.1f} s: {said[:200]!r}")
        return status, said
