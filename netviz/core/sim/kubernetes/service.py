"""A service as kube-proxy's rules tell of it, and the sentence for it."""

from __future__ import annotations

import msgspec

from netviz.core.sim.kubernetes.seen import Seen

NOT_TAKEN = "whose load balancer doesn't take this source"


class Service(msgspec.Struct):
    """What rules that matched say: `endpoint` is ADDRESS:PORT, `refused` why nobody gets the packet."""

    name: str = ""
    port: str = ""
    reached_by: str = ""
    endpoint: str = ""
    sticky: bool = False
    masquerades: bool = False
    refused: str = ""

    def phrase(self, seen: Seen) -> str:
        """Say it in the user's words, or "" when there is no service."""
        if not self.name:
            return ""
        words = [f"service {self.name}"]
        if self.port:
            words.append(f"port {self.port}")
        if self.reached_by:
            words.append(f"reached by {self.reached_by}")
        if self.refused:
            words.append(self.refused)
        elif self.endpoint:
            words.append(seen.endpoint(self.endpoint) + (" by session affinity" if self.sticky else ""))
        if self.masquerades and not self.refused:
            words.append("to be masqueraded")
        return ", ".join(words)
