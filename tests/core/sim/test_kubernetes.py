"""What kube-proxy's rules mean, in the user's words."""

from __future__ import annotations

import pytest

from netviz.core.sim.kubernetes import comment_of, meaning

SERVICES = (
    "KUBE-SERVICES: -d 10.96.0.1/32 -p tcp -m comment --comment "
    '"default/web:http cluster IP" -m tcp --dport 80 -j KUBE-SVC-A'
)
CHOICE = 'KUBE-SVC-A: -m comment --comment "default/web:http -> 10.244.2.2:8080" -j KUBE-SEP-A'
MASQ = "KUBE-SEP-A: -s 10.244.2.2/32 -m comment --comment default/web:http -j KUBE-MARK-MASQ"
DNAT = "-p tcp -m comment --comment default/web:http -m tcp -j DNAT --to-destination 10.244.2.2:8080"
NODE_PORT = (
    "KUBE-NODEPORTS: -p udp -m comment --comment kube-system/dns:dns -m udp --dport 30053 -j KUBE-EXT-B"
)


@pytest.mark.parametrize(
    ("matched", "deciding", "expected"),
    [
        ([SERVICES, CHOICE], DNAT, "service default/web port http, endpoint 10.244.2.2:8080"),
        (
            [SERVICES, CHOICE, MASQ],
            DNAT,
            "service default/web port http, endpoint 10.244.2.2:8080, to be masqueraded",
        ),
        ([NODE_PORT], "", "service kube-system/dns port dns"),
        (
            [],
            "-d 10.96.0.3/32 -p tcp -m comment --comment "
            '"default/none:http has no endpoints" -m tcp --dport 80 -j REJECT',
            "service default/none port http, which has no endpoints",
        ),
        (
            [],
            '-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE',
            "kube-proxy's masquerading of service traffic",
        ),
        (["INPUT: -m comment --comment default/web:http -j ACCEPT"], "", ""),
        (['KUBE-FORWARD: -m comment --comment "kubernetes forwarding rules" -j ACCEPT'], "", ""),
        (["KUBE-POSTROUTING: -m mark ! --mark 0x4000/0x4000 -j RETURN"], "", ""),
        ([], "", ""),
    ],
)
def test_meanings(matched: list[str], deciding: str, expected: str) -> None:
    """Services, endpoints, masquerading; nothing where nobody's rules are recognised."""
    assert meaning(matched, deciding) == expected


def test_comments() -> None:
    """Quoted, bare, none."""
    assert comment_of('-m comment --comment "a b" -j X') == "a b"
    assert comment_of("-m comment --comment a/b:c -j X") == "a/b:c"
    assert comment_of("-j X") == ""
