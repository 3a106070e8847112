"""What there is on a node: links, addresses, routes, neighbours, rules, and leases; to be compared with later."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

_SCRIPT = """
echo '@@ link'; ip -o link
echo '@@ address'; ip -o addr
echo '@@ route'; ip -4 route show table all type unicast; ip -6 route show table all type unicast
echo '@@ policy rule'; ip -4 rule; ip -6 rule
echo '@@ permanent neighbour'; ip neigh show nud permanent
echo '@@ ipset'; ipset list -o plain 2>/dev/null
echo '@@ traffic control'; tc qdisc show 2>/dev/null
echo '@@ nft'; nft --stateless list ruleset
"""
# What the kernel makes of links and addresses goes with them.
_BY_KERNEL = re.compile(r"proto kernel|^(multicast|local|broadcast|anycast) |\bfe80::|\bff00::")
_LEASES_OWN = ("lock", "last_reserved_ip")


def there(root: Path, leases: Path) -> set[str]:
    """List what a node has, a line each that begins with what it is. Leases are files below a folder."""
    done = subprocess.run(
        ["nsenter", f"--net={root}", "--", "sh", "-c", _SCRIPT], capture_output=True, text=True, timeout=60
    )
    return {*_lines(done.stdout), *_leases(leases)}


def _lines(text: str) -> Iterator[str]:
    what, place = "", ["", ""]
    for line in text.splitlines():
        words = " ".join(line.split())
        if line.startswith("@@ "):
            what = line[3:]
        elif what == "nft":
            yield from _of_nft(line, words, place)
        elif what == "link":
            name = words.split(": ")[1]
            yield f"link {name.partition('@')[0]}"
        elif what == "address":
            _, name, _family, address = words.split()[:4]
            if not address.startswith(("fe80:", "127.", "::1/")):
                yield f"address {address} on {name}"
        elif words and not (what == "route" and _BY_KERNEL.search(words)):
            yield f"{what} {words}"


def _of_nft(line: str, words: str, place: list[str]) -> Iterator[str]:
    """Read a line of a rule set; `place` holds the table and the chain, set or map that it stands in."""
    depth = len(line) - len(line.lstrip("\t"))
    if not words or words == "}" or words.startswith("#"):
        return
    if depth == 0:
        place[0] = words.removesuffix(" {")
        yield f"nft {place[0]}"
    elif depth == 1:
        place[1] = words.removesuffix(" {")
        yield f"nft {place[1]} of {place[0]}"
    else:
        yield f"nft rule of {place[0]}, {place[1]}: {words}"


def _leases(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")) if folder.exists() else ():
        if path.is_file() and not path.name.startswith(_LEASES_OWN):
            holder = path.read_text(errors="replace").split()
            yield f"lease of {path.name} for container {holder[0] if holder else '?'}"
