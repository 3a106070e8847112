"""Commands that have a running server observe: the request, the place in the queue, the end, and refusals."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from typing import Any, ClassVar

import pytest
from django.core.management import call_command

from netviz.observing.management.commands import observe

DROPS = {
    "id": "1",
    "kind": "drops",
    "place": None,
    "error": None,
    "headline": "No drop of n1 was seen in 2 s.",
    "drops": {"groups": [], "not_listed": 0, "unplaced": 0, "shared_with": [], "sources": []},
}


class Server(BaseHTTPRequestHandler):
    """Answers a POST with what is queued, and what is asked for afterwards with its end."""

    posted: ClassVar[list[tuple[str, str | None, Any]]] = []
    end: ClassVar[dict[str, Any]] = {}
    refusal: ClassVar[tuple[int, str] | None] = None

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.posted.append((self.path, self.headers["Authorization"], body))
        if self.refusal is not None:
            self._answer(self.refusal[0], {"error": self.refusal[1]})
        else:
            self._answer(202, {"id": "1", "status": "queued", "place": 2})

    def do_GET(self) -> None:
        assert self.path == "/api/observations/1"
        self._answer(200, self.end)

    def _answer(self, status: int, what: dict[str, Any]) -> None:
        data = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Server]]:
    class Fresh(Server):
        posted: ClassVar[list[tuple[str, str | None, Any]]] = []

    with HTTPServer(("127.0.0.1", 0), Fresh) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("NETVIZ_URL", f"http://127.0.0.1:{http.server_port}")
        monkeypatch.setenv("NETVIZ_TOKEN", "nva_x")
        yield Fresh
        http.shutdown()
        thread.join()


def run(*argv: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command(*argv, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_drops(server: type[Server]) -> None:
    server.end = {**DROPS, "status": "done"}
    out, err = run("drops", "--of", "n1", "--seconds", "2")
    assert server.posted == [("/api/drops", "Bearer nva_x", {"of": "n1", "seconds": 2})]
    assert (out, err) == ("No drop of n1 was seen in 2 s.\n", "waiting: 2 before it on the same nodes\n")
    assert json.loads(run("drops", "--of", "n1", "--json")[0]) == server.end


def test_listen(server: type[Server]) -> None:
    """The trace tells where to listen."""
    heard = {"ways": [], "again": 0, "unfollowed": 2}
    server.end = {
        **DROPS,
        "status": "done",
        "headline": "2 packets",
        "capture": {"heard": heard, "sources": []},
    }
    out, _ = run("observe", "--from", "a", "--to", "b", "--listen", "5")
    assert [path for path, _, _ in server.posted] == ["/api/traces", "/api/captures"]
    assert server.posted[1][2] == {"trace": "1", "seconds": 5, "drops": True}
    assert "frames that can't be followed from device to device: 2" in out


def test_a_probe_is_printed_line_by_line(server: type[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are escaped, the lines' ends aren't."""
    server.end = {**DROPS, "status": "done", "trace": {}}
    monkeypatch.setattr(observe, "lines_of", lambda found: iter(("forward:", "  a\x1b")))
    assert run("observe", "--from", "a", "--to", "b")[0] == "forward:\n  a\\x1b\n"


def test_a_failed_one_has_a_status_of_its_own(server: type[Server]) -> None:
    server.end = {"id": "1", "status": "failed", "place": None, "error": "no tracefs", "headline": None}
    server.end |= {"drops": None, "trace": None}
    for argv in (("drops", "--of", "n1"), ("observe", "--from", "a", "--to", "b")):
        with pytest.raises(SystemExit) as stopped:
            run(*argv)
        assert stopped.value.code == 3
    assert server.posted[1][0] == "/api/observations"


def test_a_refusal_is_bad_input(server: type[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    server.refusal = (400, "no pod is called 'a'")
    with pytest.raises(SystemExit) as stopped:
        run("observe", "--from", "a", "--to", "b")
    assert stopped.value.code == 2
    monkeypatch.setenv("NETVIZ_URL", "nowhere")
    with pytest.raises(SystemExit):
        run("drops", "--of", "n1")
