"""What commands share that ask a running server: NETVIZ_URL is where it is, NETVIZ_TOKEN an API token."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from typing import Any

from netviz.core.plain import plain
from netviz.tracing.offline import OfflineCommand

ENDS = ("done", "partial", "failed")
LOOK_S = 0.1
PATIENCE_S = 400.0
TIMEOUT_S = 30.0
FAILED = 3


class AskingCommand(OfflineCommand):
    """Have a running server observe something, and wait for its end."""

    def observed(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        """Begin an observation, and return it at its end; on the way, say its place in the queue."""
        found = self.call(path, request)
        limit = time.monotonic() + PATIENCE_S
        place = None
        while found["status"] not in ENDS:
            if found["place"] and found["place"] != place:
                place = found["place"]
                self.stderr.write(plain(f"waiting: {place} before it on the same nodes"))
            if time.monotonic() > limit:
                self.failed("the observation doesn't end; the server's log may say why")
            time.sleep(LOOK_S)
            found = self.call(f"/api/observations/{found['id']}")
        return found

    def call(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the server: a POST of `body`, or a GET. Doesn't return where it refuses."""
        url, token = os.environ.get("NETVIZ_URL", "").rstrip("/"), os.environ.get("NETVIZ_TOKEN", "")
        if not url.startswith(("http://", "https://")) or not token:
            self.fail("say in NETVIZ_URL where the server is (https://...), and in NETVIZ_TOKEN an API token")
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url + path, data, headers), timeout=TIMEOUT_S
            ) as answer:
                said: dict[str, Any] = json.loads(answer.read())
                return said
        except urllib.error.HTTPError as err:
            sentence = _sentence(err)
            self.fail(sentence) if err.code < 500 else self.failed(sentence)
        except (OSError, ValueError) as err:
            self.failed(f"{url} can't be asked: {getattr(err, 'reason', None) or err}")
        raise AssertionError

    def failed(self, sentence: str) -> None:
        """Say what the server, or the observation, failed at, and end."""
        self.stderr.write(plain(f"{self.name}: {sentence}"))
        sys.exit(FAILED)


def _sentence(err: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(err.read())["error"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered {err.code}"
