"""Files that only their owner can read, whatever the umask: database, generated secret, tokens."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

OWNER_ONLY = 0o600


def make_private(path: Path) -> None:
    """Make an empty file that only its owner can read, or take the others' rights to one away. Raises: OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
    try:
        close_to_others(descriptor)
    finally:
        os.close(descriptor)


def create_private(path: Path, text: str) -> None:
    """Make a file that only its owner can read, whole at once; one that is there already stays. Raises: OSError."""
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
    finally:
        os.unlink(partial)


def close_to_others(file: int | Path) -> None:
    """Take the others' rights to a file away, as far as it is ours."""
    if os.stat(file).st_mode & 0o077:
        with contextlib.suppress(PermissionError):
            os.chmod(file, OWNER_ONLY)


@contextmanager
def secret_output(out: str | None, standard: Callable[[str], object]) -> Iterator[Callable[[str], object]]:
    """Give a function that writes a secret: to the file `out`, or to standard output when that is None.

    The file is opened before anything is made that it is to hold, and is there whole or not at all.
    Raises: OSError.
    """
    if out is None:
        yield standard
        return
    target = Path(out).resolve()  # a link, such as /dev/stdout, isn't to be replaced
    if os.path.exists(out) and not os.path.isfile(out):
        raise OSError(errno.EINVAL, "not a regular file", out)
    descriptor, partial = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            yield lambda text: file.write(text + "\n")
        os.replace(partial, target)
    except BaseException:
        os.unlink(partial)
        raise
