"""`./manage.py observe`: have a running server send a probe, and print what was seen of it beside the prediction.

The server is NETVIZ_URL, the API token NETVIZ_TOKEN. Exit status 0: observed, whatever was seen; 2: bad input, or refused;
3: the server, or the observation, failed.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from typing import Any

from django.core.management.base import CommandParser

from netviz.core.plain import plain
from netviz.observing.text import lines_of
from netviz.tracing.offline import OfflineCommand

ENDS = ("done", "partial", "failed")
LOOK_S = 0.1
PATIENCE_S = 400.0
TIMEOUT_S = 30.0
FAILED = 3
# The options that are a request's fields, and their names there.
ASKED = {
    "source": "from",
    "target": "to",
    "proto": "proto",
    "sport": "sport",
    "dport": "dport",
    "length": "len",
}


class Command(OfflineCommand):
    """Observe by a running server."""

    name = "observe"
    help = "Send a probe by a running server (NETVIZ_URL, NETVIZ_TOKEN), and show where the kernels really took it"

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "--from", dest="source", required=True, metavar="SRC", help="pod, namespace, node or IP"
        )
        parser.add_argument("--to", dest="target", required=True, metavar="DST", help="pod or IP")
        parser.add_argument(
            "--proto",
            default="tcp",
            choices=("tcp", "udp", "icmp", "auto"),
            help="an application may take a datagram for its own: udp only where you say so (default: tcp)",
        )
        parser.add_argument("--sport", type=int, metavar="N")
        parser.add_argument("--dport", type=int, metavar="N")
        parser.add_argument(
            "--len", dest="length", type=int, metavar="BYTES", help="the whole IP packet, of udp and icmp"
        )
        parser.add_argument("--df", action="store_true", help="forbid fragmentation")
        parser.add_argument("--json", action="store_true", help="the observation's JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Observe and print."""
        request = {name: options[option] for option, name in ASKED.items() if options[option] is not None}
        if options["df"]:
            request["df"] = True
        found = self._call("/api/observations", request)
        limit = time.monotonic() + PATIENCE_S
        place = None
        while found["status"] not in ENDS:
            if found["place"] and found["place"] != place:
                place = found["place"]
                self.stderr.write(plain(f"{place} before it on the same nodes"))
            if time.monotonic() > limit:
                self._failed("the observation doesn't end; the server's log may say why")
            time.sleep(LOOK_S)
            found = self._call(f"/api/observations/{found['id']}")
        if options["json"]:
            self.stdout.write(json.dumps(found, indent=2))
        elif found["trace"] is not None:
            self.stdout.write(plain("\n".join(lines_of(found))))
        if found["status"] == "failed":
            self._failed(found["error"] or "the observation failed")

    def _call(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
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
            self.fail(sentence) if err.code < 500 else self._failed(sentence)
        except (OSError, ValueError) as err:
            self._failed(f"{url} can't be asked: {getattr(err, 'reason', None) or err}")
        raise AssertionError

    def _failed(self, sentence: str) -> None:
        self.stderr.write(plain(f"observe: {sentence}"))
        sys.exit(FAILED)


def _sentence(err: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(err.read())["error"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered {err.code}"
