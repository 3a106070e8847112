"""What a process must be allowed to do to run a lab.

Source: include/uapi/linux/capability.h (Linux 6.18).
"""

from __future__ import annotations

from pathlib import Path

from lab.spec import LabError

CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21


def require() -> None:
    """Raises: LabError where this process may not make and configure namespaces."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    if not (effective >> CAP_SYS_ADMIN & 1 and effective >> CAP_NET_ADMIN & 1):
        raise LabError(
            "the lab needs root, or a user namespace: "
            "unshare --user --map-root-user --net --mount --pid --fork COMMAND"
        )
