"""Names as a terminal and a log may have them, and in a row as a sentence has them.

Who may make links, processes, chains or namespaces also chooses their names, and may put control
characters into them: to colour, clear or retitle an operator's terminal, to forge log lines, or to turn
the direction of text. Whatever is printed or logged goes through here; JSON escapes by itself.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

MAX_NAMED = 3


def plain(text: str) -> str:
    """Escape every character that isn't printable, line breaks too, as Python would write it (`\\x1b`)."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class PlainFormatter(logging.Formatter):
    """A log formatter that escapes what messages and tracebacks quote; only tracebacks have several lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Make the message's line."""
        return plain(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """Make the whole record."""
        return "\n".join(map(plain, super().format(record).split("\n")))


SHELL_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-")


def quoted(name: str) -> str:
    """Write a name as a shell takes it: what a pod calls its devices is nobody's command."""
    return name if name and SHELL_PLAIN.issuperset(name) else "'" + name.replace("'", "'\\''") + "'"


_OF_DEVICE = re.compile(r"\b(net\.ipv[46]\.(?:conf|neigh)\.)(\S+?)(\.\w+)(?=[=\s]|$)")


def is_sysctl(command: str) -> bool:
    """Tell whether a command is one of sysctl(8)."""
    return command.startswith("sysctl ")


def runnable(command: str) -> str:
    """Write the dots of devices' names (flannel.1, eth0.100) in sysctls' names as sysctl(8) takes them: as slashes."""
    if not is_sysctl(command):
        return command
    return _OF_DEVICE.sub(lambda found: found[1] + found[2].replace(".", "/") + found[3], command)


def joined(names: Iterable[str], most: int = MAX_NAMED) -> str:
    """Write names in a row: "a", "a and b", "a, b and 3 more"."""
    every = list(names)
    if len(every) > most:
        every = [*every[: most - 1], f"{len(every) - most + 1} more"]
    return " and ".join(filter(None, (", ".join(every[:-1]), every[-1]))) if every else ""


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: "1 pod", "3 pods"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def singular(unit: str) -> str:
    """Name one of what a check counts: "clusters" is "cluster", "entries" "entry", "addresses" "address"."""
    if unit.endswith("ies"):
        return f"{unit[:-3]}y"
    return unit[:-2] if unit.endswith("sses") else unit.removesuffix("s")
