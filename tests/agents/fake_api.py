"""An API server for tests: kmock serves, and this decides what. Lists in pages, watches with bookmarks, and faults.

Every change has a version, and every watch tells what came after the one that it was asked for, as long as that isn't
`compacted`. What stands in `faults` for a path is answered first, each once.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp.web
import kmock

from netviz.core.wire.kubernetes.api import RESOURCES

PATHS = {one.name: one.path for one in RESOURCES}
_SPACES = "/api/v1/spaces"
GROUP = "/apis/policy.networking.k8s.io"
Json = dict[str, Any]
Answer = Callable[[kmock.Request], Any]


def status(code: int, message: str, **headers: str) -> Answer:
    """An answer that refuses."""
    body = {"kind": "Status", "code": code, "message": message}
    return lambda _: _response(body, code, headers)


def _response(payload: Any, code: int = 200, headers: dict[str, str] | None = None) -> kmock.Response:
    """An answer that says all of itself: kmock keeps for the next one what it isn't told."""
    return kmock.Response(status=code, headers={"Retry-After": "0", **(headers or {})}, payload=payload)


def cut(request: kmock.Request) -> None:
    """Cut the connection of a request."""
    transport = request._raw_request and request._raw_request.transport
    assert transport is not None
    transport.abort()


class Handler(kmock.RawHandler):
    """kmock takes a namespace's name for granted after "namespaces" (0.8): their list goes by another path."""

    async def __call__(self, raw_request: aiohttp.web.BaseRequest) -> aiohttp.web.StreamResponse:
        url = raw_request.rel_url
        if url.path == PATHS["namespaces"]:
            raw_request = raw_request.clone(rel_url=url.with_path(_SPACES, keep_query=True))
        return await super().__call__(raw_request)


class FakeApi:
    """The objects of a cluster by path, their history, and the requests that were made."""

    def __init__(self, handler: kmock.RawHandler) -> None:
        self.version = 1
        self.compacted = 0
        self.away = False
        self.objects: dict[str, dict[tuple[str, str], Json]] = defaultdict(dict)
        self.faults: dict[str, deque[Answer]] = defaultdict(deque)
        self.requests: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self._events: list[tuple[int, str, bytes]] = []
        self._changed = asyncio.Condition()
        # In which versions the API has the kinds that needn't be there, the preferred one first.
        self.served: dict[str, tuple[str, ...]] = {
            one.name: one.versions[:1] for one in RESOURCES if one.versions
        }
        self.groups_asked = 0
        for name, path in {**PATHS, "namespaces": _SPACES}.items():
            if name not in self.served:
                handler[f"get {path}"] << (lambda request, name=name: self._answer(name, request))
        for version in ("v1alpha1", "v1alpha2", "v1beta1", "v7"):
            for name in self.served:
                handler[f"get {GROUP}/{version}/{name}"] << (
                    lambda request, name=name, version=version: self._answer(name, request, version)
                )
        handler[f"get {GROUP}"] << self._group

    def fault(self, name: str, *answers: Answer) -> None:
        """Have the next requests of a kind answered so."""
        self.faults[name].extend(answers)

    def asked(self, name: str, *, watch: bool) -> list[dict[str, str]]:
        """The parameters of the lists, or the watches, that were asked for."""
        return [params for one, params, _ in self.requests if one == name and ("watch" in params) == watch]

    async def put(self, name: str, *objects: Json) -> None:
        """Add objects, or change them."""
        for one in objects:
            key = (one["metadata"].get("namespace", ""), one["metadata"]["name"])
            kind = "MODIFIED" if key in self.objects[name] else "ADDED"
            self._happened(name, kind, one)
            self.objects[name][key] = one
        await self._wake()

    async def delete(self, name: str, namespace: str, object_name: str) -> None:
        """Delete an object."""
        self._happened(name, "DELETED", self.objects[name].pop((namespace, object_name)))
        await self._wake()

    async def leave(self) -> None:
        """Cut every connection, and those to come until `away` is over."""
        self.away = True
        await self._wake()

    def _happened(self, name: str, kind: str, one: Json) -> None:
        self.version += 1
        one["metadata"]["resourceVersion"] = str(self.version)
        line = json.dumps({"type": kind, "object": one}).encode() + b"\n"
        self._events.append((self.version, name, line))

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _group(self, request: kmock.Request) -> kmock.Response:
        self.groups_asked += 1
        if self.away:
            cut(request)
        versions = dict.fromkeys(version for every in self.served.values() for version in every)
        if not versions:
            return _response({"kind": "Status", "code": 404, "message": "404 page not found"}, 404)
        return _response({"kind": "APIGroup", "versions": [{"version": version} for version in versions]})

    def _answer(self, name: str, request: kmock.Request, version: str = "") -> kmock.Response:
        params = dict(request.params)
        if version and version not in self.served[name]:
            return status(404, "the server could not find the requested resource")(request)
        self.requests.append((name, params, dict(request.headers)))
        if self.away:
            cut(request)
        if self.faults[name]:
            answer = self.faults[name].popleft()(request)
        elif "watch" not in params:
            answer = self._page(name, params)
        elif int(params["resourceVersion"]) < self.compacted:
            answer = status(410, "too old resource version")(request)
        else:
            answer = self.events(name, int(params["resourceVersion"]))
        return answer if isinstance(answer, kmock.Response) else _response(answer)

    def _page(self, name: str, params: dict[str, str]) -> Json:
        begin, limit = int(params.get("continue", 0)), int(params["limit"])
        found = [self.objects[name][key] for key in sorted(self.objects[name])]
        more = {"continue": str(begin + limit)} if begin + limit < len(found) else {}
        return {
            "metadata": {"resourceVersion": str(self.version), **more},
            "items": found[begin : begin + limit],
        }

    async def events(self, name: str, version: int) -> AsyncIterator[bytes]:
        """What comes after a version, for as long as somebody listens."""
        yield b""
        while not self.away:
            for at, one, line in [event for event in self._events if event[0] > version]:
                version = at
                if one == name:
                    yield line
            async with self._changed:
                while self.version <= version and not self.away:
                    await self._changed.wait()
