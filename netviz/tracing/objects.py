"""A folder of the Kubernetes API's lists, as `kubectl get ... -o json` writes them: `--objects DIR`."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from netviz.core.state.node import NodeState
from netviz.core.wire.kubernetes.files import read_lists
from netviz.core.wire.nvz import NvzError

MAX_LIST_BYTES = 2 << 30  # 150,000 pods are about 1 GiB


def read_objects(directory: str, cluster: str) -> NodeState:
    """Read all lists (*.json, *.json.gz) in a folder. Raises: NvzError, with the file's name."""
    folder = Path(directory)
    if not folder.is_dir():
        raise NvzError(f"--objects {directory}: no such directory")
    paths = sorted(path for path in folder.iterdir() if path.name.endswith((".json", ".json.gz")))
    if not paths:
        raise NvzError(f"--objects {directory}: no *.json or *.json.gz in it")
    return read_lists(cluster, _bodies(paths))


def _bodies(paths: list[Path]) -> Iterator[tuple[str, bytes]]:
    for path in paths:
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
                body = file.read(MAX_LIST_BYTES + 1)
        except (OSError, EOFError, zlib.error) as err:
            raise NvzError(f"{path}: {getattr(err, 'strerror', None) or err}") from None
        if len(body) > MAX_LIST_BYTES:
            raise NvzError(f"{path}: more than {MAX_LIST_BYTES >> 20} MiB")
        yield str(path), body
