"""The Kubernetes API over HTTP: pages of lists and lines of watches, as bytes.

Which server, as whom and by which certificates is lightkube's part (kubeconfig, service account, exec plugins, client
certificates); nothing else of it is used, since its objects would cost gigabytes where netviz keeps megabytes.

A watch that says nothing for `SILENT_S` is taken for dead: the API sends bookmarks about every minute.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx
import yaml
from lightkube.config.client_adapter import AsyncClient, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError
from msgspec import ValidationError

from netviz.core.wire.kubernetes.api import ApiError, Page, Resource, error, group_versions

PAGE_OBJECTS = 500
CONNECT_S = 10.0
SILENT_S = 90.0
WATCH_S = 300
# etcd takes 1.5 MiB for an object, and an event is hardly larger; a page is PAGE_OBJECTS of usual ones.
MAX_LINE_BYTES = 16 << 20
MAX_PAGE_BYTES = 512 << 20
MAX_ERROR_BYTES = 64 << 10
NOT_FOUND = 404
_JSON = "application/json"
_METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1,application/json"


class NoConfig(Exception):
    """Which API server to ask, or as whom, cannot be read; the message says why in one line."""


class Unanswered(ApiError):
    """The API server gave no whole answer, or refused one. `retry_s`: how long it asks to be left alone."""

    def __init__(self, message: str, code: int = 0, retry_s: float = 0.0) -> None:
        super().__init__(message, code)
        self.retry_s = retry_s


@dataclass(frozen=True)
class ApiOptions:
    """Where the configuration is: a kubeconfig file, or None for the pod's own service account, else kubectl's."""

    kubeconfig: str | None = None
    context: str | None = None


def read_config(options: ApiOptions) -> SingleConfig:
    """Read which API server to ask and as whom. Raises: NoConfig."""
    try:
        config = KubeConfig.from_file(options.kubeconfig) if options.kubeconfig else KubeConfig.from_env()
        found = config.get(options.context)
    except (ConfigError, OSError, KeyError, TypeError, ValueError, ValidationError, yaml.YAMLError) as err:
        what = f"no {err}" if isinstance(err, KeyError) else " ".join(str(err).split())
        raise NoConfig(f"the Kubernetes configuration cannot be used: {what}") from None
    if found is None or found.user is None:
        raise NoConfig("the Kubernetes configuration names no user")
    return found


class Api:
    """One connection to the API server. `close` it; `renew` reads credentials anew."""

    def __init__(self, options: ApiOptions) -> None:
        self._options = options
        self._client: Any = None

    async def renew(self) -> None:
        """Forget the connection and the credentials: the next request reads them again."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    close = renew

    def _open(self) -> Any:
        if self._client is None:
            timeout = httpx.Timeout(CONNECT_S, read=SILENT_S)
            try:
                self._client = AsyncClient(read_config(self._options), ConnectionParams(timeout=timeout))
            except (ConfigError, OSError, ValueError, NoConfig) as err:
                raise Unanswered(" ".join(str(err).split())) from None
        return self._client

    @asynccontextmanager
    async def _get(self, path: str, accept: str = _JSON, **params: str) -> AsyncIterator[Any]:
        client = self._open()
        try:
            async with client.stream("GET", path, params=params, headers={"Accept": accept}) as response:
                if response.status_code != 200:
                    raise await _refusal(response)
                yield response
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as err:
            raise Unanswered(str(err) or type(err).__name__) from None
        except (ConfigError, OSError) as err:  # a token file or an exec plugin that is gone
            raise Unanswered(" ".join(str(err).split())) from None

    async def versions(self, resource: Resource) -> tuple[str, ...]:
        """Ask in which versions a resource's group is there, the preferred one first; none: it isn't. Raises: ApiError."""
        try:
            async with self._get(resource.group_path) as response:
                return group_versions(await _whole(response, MAX_ERROR_BYTES))
        except Unanswered as err:
            if err.code == NOT_FOUND:
                return ()
            raise

    async def page(self, resource: Resource, more: str) -> Page:
        """Get a page of a list: the first one, or the one that `more` stands for. Raises: ApiError."""
        params = {"limit": str(PAGE_OBJECTS), **({"continue": more} if more else {})}
        async with self._get(resource.path, _accept(resource, "List"), **params) as response:
            return resource.page(await _whole(response, MAX_PAGE_BYTES))

    async def watch(self, resource: Resource, version: str) -> AsyncGenerator[bytes | None, None]:
        """Yield None when the watch stands, then its lines, until the server ends it. Raises: ApiError.

        A line that is cut off isn't yielded: what it told comes again with the next watch.
        """
        params = {"watch": "1", "resourceVersion": version, "allowWatchBookmarks": "true"}
        params["timeoutSeconds"] = str(int(WATCH_S * random.uniform(0.5, 1.0)))
        async with self._get(resource.path, _accept(resource, ""), **params) as response:
            yield None
            pending = b""
            async for chunk in response.aiter_bytes():
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield line
                if len(pending) > MAX_LINE_BYTES:
                    raise Unanswered(f"an event of {resource.name} of more than {MAX_LINE_BYTES >> 20} MiB")


def _accept(resource: Resource, kind: str) -> str:
    return _METADATA.format(kind) if resource.metadata_only else _JSON


async def _whole(response: Any, most: int) -> bytes:
    chunks, size = [], 0
    async for chunk in response.aiter_bytes():
        chunks.append(chunk)
        size += len(chunk)
        if size > most:
            raise Unanswered(f"an answer of more than {most >> 20} MiB", response.status_code)
    return b"".join(chunks)


async def _refusal(response: Any) -> Unanswered:
    said = error(await _whole(response, MAX_ERROR_BYTES), response.status_code)
    after = response.headers.get("Retry-After", "")
    retry_s = float(after) if after.isascii() and after.isdigit() else 0.0
    return Unanswered(f"{said} ({response.status_code})", response.status_code, retry_s)
