"""Static files: what is kept for how long, and what is sent compressed."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from netviz.staticfiles import StaticFiles


async def get(files: StaticFiles, path: str, **headers: str) -> tuple[dict[bytes, bytes], bytes]:
    """The headers and body that a path is answered with."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await files({"type": "http", "method": "GET", "path": path, "headers": raw}, None, send)
    assert sent[0]["status"] == 200
    return dict(sent[0]["headers"]), b"".join(message["body"] for message in sent[1:])


async def test_the_icon_is_kept_for_a_day_and_else_nothing_without_asking() -> None:
    files = StaticFiles(None)
    icon, _ = await get(files, "/static/netviz/icon.svg")
    style, _ = await get(files, "/static/netviz/login.css")
    assert icon[b"cache-control"] == b"max-age=86400, public"
    assert b"max-age=0" in style[b"cache-control"]


async def test_a_file_is_sent_as_its_compressed_twin_to_who_takes_it(tmp_path: Path) -> None:
    (tmp_path / "app.js").write_bytes(b"let it = 1;" * 100)
    (tmp_path / "app.js.gz").write_bytes(gzip.compress(b"let it = 1;" * 100))
    files = StaticFiles(None)
    files._files.add_files(str(tmp_path), "/static/t/")
    plain, body = await get(files, "/static/t/app.js")
    assert (plain.get(b"content-encoding"), body) == (None, b"let it = 1;" * 100)
    packed, twin = await get(files, "/static/t/app.js", accept_encoding="gzip, deflate, br")
    assert (packed[b"content-encoding"], packed[b"vary"]) == (b"gzip", b"Accept-Encoding")
    assert gzip.decompress(twin) == body
