"""What a packet meets, as typed decisions: one struct for each kind of step, with closed lists of actions and causes.

The walk records these and no words: `core/sim/words` renders sentences, check commands and evidence from them, and
`core/sim/seen_at.py` tells where in the kernel such a step would be seen.
"""

from netviz.core.sim.steps.base import (
    Assumption,
    Copy,
    Decision,
    DropReason,
    Edge,
    Opaque,
    Origin,
    Place,
    SourceFault,
    Stray,
)
from netviz.core.sim.steps.encap import Decap, Encap
from netviz.core.sim.steps.hook import ChainRef, HookVerdict, RuleHit
from netviz.core.sim.steps.inet import (
    Conntrack,
    Forward,
    LocalDelivery,
    Mtu,
    Nat,
    RpFilter,
    SocketLookup,
    SourceRefusal,
    Ttl,
    Untranslated,
)
from netviz.core.sim.steps.link import Bridge, Receive, Transmit
from netviz.core.sim.steps.neigh import AnswerCause, ClosedPort, Meddling, Neighbour, Silence
from netviz.core.sim.steps.route import PassedRule, PolicyRule, RouteLookup

What = (
    Origin
    | Opaque
    | Transmit
    | Receive
    | Bridge
    | Encap
    | Decap
    | PolicyRule
    | RouteLookup
    | RpFilter
    | Forward
    | Ttl
    | Mtu
    | Neighbour
    | HookVerdict
    | Conntrack
    | Nat
    | LocalDelivery
    | SocketLookup
)

__all__ = [
    "AnswerCause",
    "Assumption",
    "Bridge",
    "ChainRef",
    "ClosedPort",
    "Conntrack",
    "Copy",
    "Decap",
    "Decision",
    "DropReason",
    "Edge",
    "Encap",
    "Forward",
    "HookVerdict",
    "LocalDelivery",
    "Meddling",
    "Mtu",
    "Nat",
    "Neighbour",
    "Opaque",
    "Origin",
    "PassedRule",
    "Place",
    "PolicyRule",
    "Receive",
    "RouteLookup",
    "RpFilter",
    "RuleHit",
    "Silence",
    "SocketLookup",
    "SourceFault",
    "SourceRefusal",
    "Stray",
    "Transmit",
    "Ttl",
    "Untranslated",
    "What",
]
