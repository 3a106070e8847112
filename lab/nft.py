"""nftables rulesets, applied in one transaction by the `nft` program inside a namespace."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from lab.spec import LabError


class NftError(LabError):
    """nft is missing, or refused a ruleset."""


def require() -> str:
    """Return the path of nft. Raises: NftError with what to install."""
    program = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        raise NftError("the lab needs nftables: install it (Debian, Ubuntu: apt-get install nftables)")
    return program


def _run(netns: str | Path, args: list[str], text: str = "") -> str:
    command = ["nsenter", f"--net={netns}", "--", require(), *args]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise NftError(f"nft {' '.join(args)} in {netns}: {done.stderr.strip()}")
    return done.stdout


def apply(netns: str | Path, ruleset: str) -> None:
    """Apply a ruleset as one transaction. Raises: NftError."""
    _run(netns, ["-f", "-"], ruleset)


def listing(netns: str | Path) -> str:
    """Return the ruleset without counters' values. Raises: NftError."""
    return _run(netns, ["--stateless", "list", "ruleset"])


def tables_and_chains(netns: str | Path) -> list[str]:
    """List the tables and their chains, as FAMILY.TABLE and FAMILY.TABLE.CHAIN. Raises: NftError."""
    found = []
    for line in _run(netns, ["list", "chains"]).splitlines():
        words = line.split()
        if words[:1] == ["table"]:
            found.append(f"{words[1]}.{words[2]}")
            table = found[-1]
        elif words[:1] == ["chain"]:
            found.append(f"{table}.{words[1]}")
    return found


def insert_rule(netns: str | Path, chain: str, rule: str) -> int:
    """Put a rule at the start of a chain ("FAMILY TABLE CHAIN") and return its handle. Raises: NftError."""
    said = _run(netns, ["--echo", "--handle", "-f", "-"], f"insert rule {chain} {rule}\n")
    found = re.search(r"# handle (\d+)", said)
    if found is None:
        raise NftError(f"nft did not say the handle of its new rule: {said.strip()}")
    return int(found[1])


def delete_rule(netns: str | Path, chain: str, handle: int) -> None:
    """Delete a rule by its handle. Raises: NftError."""
    _run(netns, ["delete", "rule", *chain.split(), "handle", str(handle)])
