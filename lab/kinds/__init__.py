"""The kinds of networks that a cluster can have: one module and one line here for each."""

from __future__ import annotations

from lab.kinds.bare import Bare
from lab.kinds.base import Kind
from lab.kinds.cni import Cni
from lab.kinds.macvlan import Macvlan
from lab.kinds.ptp import Ptp
from lab.kinds.routed import Routed
from lab.kinds.textbook import Textbook
from lab.kinds.two_nics import TwoNics
from lab.kinds.vxlan import Vxlan
from lab.spec import SpecError

__all__ = ["BARE", "KINDS", "Kind", "find"]

_ALL: tuple[Kind, ...] = (
    Textbook(),
    Vxlan(),
    Routed(),
    Ptp(),
    Macvlan(),
    Cni(),
    TwoNics(),
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}
# No network by itself, so none that users choose.
BARE = Bare()


def find(name: str) -> Kind:
    """Return a kind by its name. Raises: SpecError."""
    if name == BARE.name:
        return BARE
    if name not in KINDS:
        raise SpecError(f"no kind of cluster {name!r}; there are: {', '.join(KINDS)}")
    return KINDS[name]
