"""Where clusters live on disk, and what is written there.

    BASE/CLUSTER/state.json          the specification, the pods and the faults (`ClusterState`)
                 control, alive      the supervisor's socket and lock
                 fabric, router, internet      namespaces without processes (bind mounts)
                 objects/LIST.json   the API's lists: nodes, pods, services, ...
                 NODE/root           the node's own namespace (bind mount)
                      netns/POD      its pods' namespaces (bind mounts)
                      proc/          its processes (a proc mount)
                      pods.json      its pods, for the collector
                      control        the socket of the node's first process

BASE is $NETVIZ_LAB_DIR, or /run/netviz-lab for root, or for others netviz-lab in $XDG_RUNTIME_DIR or
/tmp/netviz-lab-UID.
"""

from __future__ import annotations

import os
from pathlib import Path


def _outer_uid() -> int:
    """Return the user's id outside of any user namespace that maps it to root."""
    first = Path("/proc/self/uid_map").read_text().split()
    return int(first[1]) + os.getuid() - int(first[0]) if first else os.getuid()


def base_dir() -> Path:
    """Return the directory of all clusters, made if need be, private to this user. Raises: PermissionError."""
    if told := os.environ.get("NETVIZ_LAB_DIR"):
        base = Path(told)
    elif os.geteuid() == 0 and os.access("/run", os.W_OK):
        base = Path("/run/netviz-lab")
    elif (runtime := os.environ.get("XDG_RUNTIME_DIR")) and os.access(runtime, os.W_OK):
        base = Path(runtime, "netviz-lab")
    else:
        base = Path(f"/tmp/netviz-lab-{_outer_uid()}")
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    if base.stat().st_uid != os.getuid() or base.is_symlink():
        raise PermissionError(f"{base} belongs to another user")
    return base.resolve()


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content such that readers see the old or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(data)
    temporary.rename(path)
