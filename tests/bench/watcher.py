"""A cluster's 150,000 pods, listed by the watcher from a slow API server, and listed again.

Each pod is the JSON of a real one (5.9 kB) under another name, in pages of 500; the server waits 20 ms before each. What
is kept is the resident memory afterwards above the watcher's own; listing again is what follows 410 Gone.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

from agents.kubernetes.client import Api, ApiOptions
from agents.kubernetes.watcher import Watcher
from tests.bench.machine import Figure

PODS, PAUSE_S = 150_000, 0.02
ROOT = Path(__file__).resolve().parents[2]
RECORDED = ROOT / "tests" / "data" / "kubernetes" / "before" / "pods.json.gz"


_FOUND = json.loads(gzip.decompress(RECORDED.read_bytes()))["items"]
_POD = next(one for one in _FOUND if one["metadata"]["name"].startswith("web-"))
_TEXT, _NAME, _UID = json.dumps(_POD), _POD["metadata"]["name"], _POD["metadata"]["uid"]
_IP = _POD["status"]["podIP"]


class _Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer with a page of pods; of any other kind there are none."""
        url = urlsplit(self.path)
        asked = parse_qs(url.query)
        begin, end = int(asked.get("continue", ["0"])[0]), 0
        if url.path == "/api/v1/pods":
            time.sleep(PAUSE_S)
            end = min(PODS, begin + int(asked["limit"][0]))
        more = f'"continue":"{end}",' if 0 < end < PODS else ""
        items = ",".join(self._pod(number) for number in range(begin, end))
        body = f'{{"metadata":{{{more}"resourceVersion":"5"}},"items":[{items}]}}'.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _pod(self, number: int) -> str:
        text = _TEXT.replace(_NAME, f"web-{number // 20:06d}-{number % 20:05d}")
        text = text.replace(_UID, f"{number:08x}-d51a-4e8a-ad98-{number:012x}")
        return text.replace(_IP, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")


def _mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


async def _measure(kubeconfig: str) -> list[float]:
    watcher = Watcher("default", lambda: Api(ApiOptions(kubeconfig)))
    own, found = _mib("VmRSS"), []
    for _ in range(2):
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before, cpu = _mib("VmRSS"), time.process_time()
        await watcher.list_once()
        assert len(watcher.state().objects.kube_pods) == PODS
        assert not watcher.troubles
        found += [before, _mib("VmRSS"), _mib("VmHWM"), time.process_time() - cpu]
    return [own, *found]


def run() -> Iterable[Figure]:
    """Measure, with the watcher in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        named = {"clusters": {"cluster": {"server": url}}, "users": {"user": {"token": "t"}}}
        config = {kind: [{"name": "c", **one}] for kind, one in named.items()}
        config["contexts"] = [{"name": "c", "context": {"cluster": "c", "user": "c"}}]
        path = Path(folder) / "config"
        path.write_text(json.dumps({**config, "current-context": "c"}))
        try:
            argv = [sys.executable, "-m", "tests.bench.watcher", str(path)]
            done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
        finally:
            server.shutdown()
            server.server_close()
    own, _, kept, peak, cpu, again, _, peak_again, cpu_again = json.loads(done.stdout)
    yield Figure("watcher's own resident memory", f"{own:.0f} MiB")
    yield Figure("what is kept of the pods", f"{kept - own:.0f} MiB")
    yield Figure("peak above what is kept, first list", f"{peak - kept:.0f} MiB", "200 MiB")
    yield Figure("peak above what is kept, list again", f"{peak_again - again:.0f} MiB", "200 MiB")
    yield Figure("CPU of the two lists", f"{cpu:.1f} s, {cpu_again:.1f} s")


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure(sys.argv[1]))))
