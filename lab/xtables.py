"""Rulesets of iptables and ipset, applied by their programs inside a namespace."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.spec import LabError

_PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin"
PACKAGES = {"ebtables": "ebtables", "ipset": "ipset", "conntrack": "conntrack", "nfacct": "nfacct"}


class ProgramError(LabError):
    """A program is missing, or refused what it was given."""


def require(program: str) -> str:
    """Return a program's path. Raises: ProgramError with what to install."""
    found = shutil.which(program, path=_PATH)
    if found is None:
        package = PACKAGES.get(program, "iptables")
        raise ProgramError(f"this needs {program}: install it (Debian, Ubuntu: apt-get install {package})")
    return found


def run(netns: str | Path, argv: Sequence[str], text: str = "") -> str:
    """Run a program in a namespace with `text` as its input, and return what it prints. Raises: ProgramError."""
    command = ["nsenter", f"--net={netns}", "--", require(argv[0]), *argv[1:]]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise ProgramError(f"{' '.join(argv)} in {netns}: {said}")
    return done.stdout


def program(name: str, family: int) -> str:
    """Name the program of an address family: iptables-restore, ip6tables-restore."""
    return name.replace("iptables", "ip6tables", 1) if family == 6 else name


def restore(netns: str | Path, family: int, text: str) -> None:
    """Load tables; chains that the text names are emptied first, others stay. Raises: ProgramError."""
    run(netns, [program("iptables-restore", family), "--noflush", "-w"], text)


def table(name: str, chains: Sequence[str], rules: Sequence[str]) -> str:
    """Write one table for `restore`: the chains (own ones), then the rules."""
    return "\n".join([f"*{name}", *(f":{chain} - [0:0]" for chain in chains), *rules, "COMMIT", ""])


def rules_of(netns: str | Path, family: int, table: str, chain: str) -> list[str]:
    """List the rules of a chain, as `iptables -S` writes them. Raises: ProgramError."""
    listed = run(netns, [program("iptables", family), "-w", "-t", table, "-S", chain])
    return [line for line in listed.splitlines() if line.startswith("-A ")]


def sync(
    netns: str | Path, family: int, name: str, chains: Mapping[str, Sequence[str]], own: tuple[str, ...]
) -> None:
    """Make the chains of a table whose names begin with one of `own` exactly these: chain -> its rules.

    A rule is written without "-A CHAIN". Raises: ProgramError.
    """
    listed = run(netns, [program("iptables", family), "-w", "-t", name, "-S"])
    there = [line.split()[1] for line in listed.splitlines() if line.startswith("-N ")]
    stale = [chain for chain in there if chain.startswith(own) and chain not in chains]
    rules = [f"-A {chain} {rule}" for chain, lines in chains.items() for rule in lines]
    gone = [f"-X {chain}" for chain in stale]
    restore(netns, family, table(name, [*chains, *stale], [*rules, *gone]))
