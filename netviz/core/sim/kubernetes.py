"""What kube-proxy's chains and rules mean, in the user's words.

kube-proxy comments its rules ("default/web:http cluster IP", "default/web:http -> 10.244.2.2:8080") and
names its chains KUBE-*. Whoever reads a trace wants the service and the endpoint rather than the hash
in a chain's name, so a step's `why` gets a sentence. This reads what was matched and nothing else: it
never changes a verdict.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# "NAMESPACE/NAME:PORT cluster IP"; the port may be absent, the rest says how the service was reached.
_SERVICE = re.compile(
    r"^(?P<name>[a-z0-9.-]+/[a-z0-9.-]+)(?::(?P<port>[a-z0-9-]*))?"
    r"(?: (?P<how>cluster IP|external IP|loadbalancer IP|has no endpoints|has no local endpoints"
    r"|-> (?P<endpoint>\S+)))?$"
)
_COMMENT = re.compile(r'--comment (?:"((?:[^"\\]|\\.)*)"|(\S+))')
_TARGET = re.compile(r" -[jg] (\S+)")
_DNAT = re.compile(r"-j DNAT --to-destination (\S+)")


def comment_of(text: str) -> str:
    """Find the comment in a rule's text, or ""."""
    found = _COMMENT.search(text)
    return found[1] or found[2] or "" if found is not None else ""


def meaning(matched: Iterable[str], deciding: str = "") -> str:
    """Say what the rules that a packet matched mean, or "".

    `matched` are rules as "CHAIN: RULE TEXT" in the order in which they matched, `deciding` the last
    rule's text.
    """
    service = port = endpoint = how = ""
    masquerades = False
    for entry in (*matched, f": {deciding}"):
        chain, _, text = entry.partition(": ")
        found = _SERVICE.match(comment_of(text))
        if found is not None and (chain.startswith("KUBE-") or "KUBE-" in text or "REJECT" in text):
            service, port = found["name"], found["port"] or port
            endpoint = found["endpoint"] or endpoint
            how = found["how"] or how
        target = _TARGET.search(f" {text}")
        if target is not None and target[1] == "KUBE-MARK-MASQ":
            masquerades = True
        dnat = _DNAT.search(text)
        if dnat is not None and (chain.startswith("KUBE-SEP-") or chain == ""):
            endpoint = dnat[1] if service else endpoint
        if "kubernetes service traffic requiring SNAT" in text and "-j MASQUERADE" in text:
            return "kube-proxy's masquerading of service traffic"
    if not service:
        return ""
    return _sentence(service, port, endpoint, how, masquerades)


def _sentence(service: str, port: str, endpoint: str, how: str, masquerades: bool) -> str:
    words = [f"service {service}{f' port {port}' if port else ''}"]
    if how.startswith("has no"):
        words.append(how.replace("has", "which has"))
    elif endpoint:
        words.append(f"endpoint {endpoint}")
    if masquerades and endpoint:
        words.append("to be masqueraded")
    return ", ".join(words)
