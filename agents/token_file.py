"""The collector's token, in a file that others may not read: whoever has it speaks for the node."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

# A group may read it (Kubernetes mounts secrets so for a pod with fsGroup), and write it never.
FORBIDDEN = stat.S_IRWXO | stat.S_IWGRP


class TokenFileError(Exception):
    """The file cannot be used; the message says why, and the command that mends it."""


def read_token(path: Path) -> str:
    """Read the token. Raises: OSError; TokenFileError when others may read or change the file."""
    with path.open(encoding="ascii", errors="replace") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & FORBIDDEN:
            raise TokenFileError(
                f"{path} is open to others (mode {mode:04o}): run chmod 600 {shlex.quote(str(path))} "
                "(a Kubernetes secret: set defaultMode: 0400 on its volume)"
            )
        return file.read().strip()
