"""The checks of state: one module each, and this list of them.

To add one: a module with its `FACT`, its kinds in docs/problems.md, its test.
"""

from netviz.core.check.fact import Fact
from netviz.core.check.facts import addresses, collectors, pod_links, ranges

FACTS: tuple[Fact, ...] = (
    collectors.FACT,
    addresses.FACT,
    ranges.FACT,
    pod_links.FACT,
)
