"""Hold alerts back that are true of every pod for a moment.

While a pod is being made or torn down, it has no link that works: that is no news. Alerts of such
kinds are shown when they have stood for PATIENCE_S.
"""

from __future__ import annotations

from collections.abc import Mapping

from netviz.topology.graph import Alert, GraphDelta

PATIENCE_S = 3.0
PATIENT_KINDS = frozenset(("no-uplink",))


class Patience:
    """The alerts that are held back. Time is passed in: Unix seconds."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[float, Alert]] = {}
        self._told: set[str] = set()

    def ripe(self, now_s: float) -> bool:
        """Whether an alert has waited long enough."""
        return any(now_s - since_s >= PATIENCE_S for since_s, _ in self._held.values())

    def sift(self, delta: GraphDelta, now_s: float) -> None:
        """Take young alerts out of a delta, and put those in that have waited long enough."""
        delta.remove.alerts = [key for key in delta.remove.alerts if self._held.pop(key, None) is None]
        self._told.difference_update(delta.remove.alerts)
        young = [a for a in delta.upsert.alerts if a.kind in PATIENT_KINDS and a.key not in self._told]
        delta.upsert.alerts = [alert for alert in delta.upsert.alerts if alert not in young]
        for alert in young:
            since_s, _ = self._held.get(alert.key, (now_s, alert))
            self._held[alert.key] = (since_s, alert)
        for key, (since_s, alert) in list(self._held.items()):
            if now_s - since_s >= PATIENCE_S:
                delta.upsert.alerts.append(alert)
                self._told.add(key)
                del self._held[key]

    def shown(self, alerts: Mapping[str, Alert]) -> dict[str, Alert]:
        """The alerts that aren't held back."""
        return {key: alert for key, alert in alerts.items() if key not in self._held}
