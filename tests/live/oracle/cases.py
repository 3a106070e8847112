"""Wrong predictions, shrunk and kept for ever as JSON under tests/data/oracle."""

from __future__ import annotations

from pathlib import Path

import msgspec

from lab.randomnet.generate import generate
from lab.randomnet.model import FABRIC, Item, Network, Place
from tests.live.oracle.compare import WRONG, Comparison
from tests.live.oracle.run import confirm, happened_text, predicted_text, run_network

DIRECTORY = Path(__file__).resolve().parents[2] / "data" / "oracle"


class Case(msgspec.Struct):
    """A network, how the prediction of its last probe differed when it was found, and what the kernel did.

    That probe alone is sent; those before it, if any, are known flows.
    """

    found: str
    predicted: str
    kernel: list[str]
    network: Network


def load_cases() -> dict[str, Case]:
    """Read all kept cases by name."""
    return {
        path.stem: msgspec.json.decode(path.read_bytes(), type=Case)
        for path in sorted(DIRECTORY.glob("*.json"))
    }


def keep(case: Case, name: str) -> Path:
    """Write a case."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    path = DIRECTORY / f"{name}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(case), indent=1) + b"\n")
    return path


def replay(network: Network) -> Comparison:
    """Compare the last probe of a network, sent again if the prediction seems wrong. Raises: OSError."""
    number = len(network.probes) - 1
    found = run_network(network, number)[0][0]
    return confirm(network, found) if found.verdict == WRONG else found


def _disagreement(network: Network) -> Comparison | None:
    last = replay(network)
    return last if last.verdict == WRONG else None


def _kind(comparison: Comparison) -> str:
    return predicted_text(comparison.trace).partition(" (")[0]


def _places(network: Network, items: list[Item]) -> list[Place]:
    """Keep the namespaces that something refers to."""
    text = " ".join(line for item in items for line in item.ip4)
    wanted = {item.at for item in items} | {network.probes[-1].src, FABRIC}
    nodes = {place.node for place in network.places if place.name in wanted and place.kind == "pod"}
    return [p for p in network.places if p.name in wanted or p.name in nodes or f"{{{p.name}}}" in text]


def shrink(seed: int, packets: int, number: int) -> Case | None:
    """Leave out whatever the disagreement doesn't need. None when it doesn't show again."""
    whole = generate(seed, packets)
    probe = whole.probes[number]
    network = msgspec.structs.replace(whole, probes=[probe])
    found = _disagreement(network)
    if found is None:
        known = [other for other in whole.probes if other.established and other is not probe]
        network = msgspec.structs.replace(whole, probes=[*known, probe])
        found = _disagreement(network)
    if found is None:
        return None
    kind, step = _kind(found), max(1, len(network.items) // 3)
    while True:
        at = 0
        while at < len(network.items):
            items = network.items[:at] + network.items[at + step :]
            smaller = msgspec.structs.replace(network, items=items, places=_places(network, items))
            try:
                again = _disagreement(smaller)
            except (OSError, KeyError):
                again = None
            if again is not None and _kind(again) == kind:
                network, found = smaller, again
            else:
                at += step
        if step == 1:
            break
        step = max(1, step // 3)
    return Case(found.why, predicted_text(found.trace), happened_text(found), network)
