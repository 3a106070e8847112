"""Asks a running server for observations."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.stack import Stack

ENDS = ("done", "partial", "failed")
LONGEST_S = 60.0


class Asker:
    """One who observes."""

    def __init__(self, stack: Stack, keep: Path | None = None) -> None:
        """`keep`: put the files of what differs there."""
        self._stack = stack
        self._keep = keep

    def get(self, path: str) -> Any:
        """GET a path's JSON."""
        status, body = self._stack.get(path)
        assert status == 200, (path, status, body[:300])
        return json.loads(body)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST and return the answer's JSON; a refusal has "error"."""
        access = self._stack.access
        headers = {"Authorization": f"Bearer {access.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(access.url + path, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as err:
            return json.loads(err.read())

    def newest(self) -> Any:
        """The observation that was asked for last."""
        return self.get("/api/observations?limit=1")["observations"][0]

    def watch(self, path: str, request: dict[str, Any], states: list[str] | None = None) -> Any:
        """Begin an observation of any kind, and wait for its end; `states` gathers those that were passed."""
        found = self.post(path, request)
        assert "id" in found, found
        limit = time.monotonic() + LONGEST_S
        while found["status"] not in ENDS:
            assert time.monotonic() < limit, found
            if states is not None:
                states.append(found["status"])
            time.sleep(0.02)
            found = self.get(f"/api/observations/{found['id']}")
        return found

    def observe(self, source: str, target: str, *, states: list[str] | None = None, **more: Any) -> Any:
        """Observe, and wait for the end; `states` gathers those that were passed."""
        found = self.watch("/api/observations", {"from": source, "to": target, **more}, states)
        if self._keep is not None and found["file"] is not None:
            status, data = self._stack.get(found["file"])
            assert status == 200
            (self._keep / f"{time.time_ns()}.nvz").write_bytes(data)
        return found

    def when_predicted(self, is_so: Callable[[Any], bool], source: str, target: str, **more: Any) -> Any:
        """Observe as soon as the prediction is so: collectors tell of a change a little later."""
        limit = time.monotonic() + LONGEST_S
        request = {"from": source, "to": target, **more}
        while not is_so(self.post("/api/traces", request)):
            assert time.monotonic() < limit
        return self.observe(source, target, **more)

    @staticmethod
    def steps(found: Any) -> list[Any]:
        """The steps of the branch that was compared, forward and back."""
        trace = found["trace"]
        branch = trace["branches"][trace["observation"]["nearest"]]
        paths = [branch["forward"], *([branch["reply"]] if branch["reply"] is not None else [])]
        steps = [step for path in paths for hop in path["hops"] for step in hop["steps"]]
        return [step for step in steps if step["observed"] is not None]
