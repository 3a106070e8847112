"""docs/problems.md lists the kinds of problems that there are: all of them, and no others."""

from __future__ import annotations

import re
from pathlib import Path

from netviz.core.check.dns.check import KINDS as DNS_KINDS
from netviz.core.check.facts import FACTS
from netviz.core.check.netpol.check import KINDS as POLICY_KINDS
from netviz.core.check.paths.check import KINDS as PATH_KINDS
from netviz.core.check.services.check import KINDS as SERVICE_KINDS
from netviz.core.check.watchers import KINDS as WATCHER_KINDS

DOC = Path(__file__).resolve().parents[3] / "docs/problems.md"
ROW = re.compile(r"^\| `([a-z-]+)` \| (.+) \| (.+) \| (certain|likely) \|$", re.MULTILINE)


def test_each_kind_is_documented_and_nothing_else() -> None:
    documented = [row[1] for row in ROW.finditer(DOC.read_text())]
    assert len(documented) == len(set(documented))
    others = {*PATH_KINDS, *WATCHER_KINDS, *SERVICE_KINDS, *POLICY_KINDS, *DNS_KINDS}
    assert set(documented) == {kind for fact in FACTS for kind in fact.kinds} | others


def test_checks_have_names_and_demands_of_their_own() -> None:
    assert len({fact.name for fact in FACTS}) == len(FACTS)
    assert len({kind for fact in FACTS for kind in fact.kinds}) == sum(len(fact.kinds) for fact in FACTS)
    for fact in FACTS:
        assert re.fullmatch(r"[A-Z][^.]+\.", fact.demands), fact.demands
