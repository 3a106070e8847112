"""What recognised rules mean, in the user's words; nothing where nobody's rules are recognised.

pod-1-1 10.1.1.11 - cni0 (node-1) ens3 ---- ens3 (node-2) cni0 - pod-2-1 10.1.2.11
"""

from __future__ import annotations

from functools import partial

import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.netfilter import NFPROTO_NAMES, ChainBody, NftChain, NftRuleBody, SetElem
from netviz.core.sim.kubernetes.overlay import meaning
from netviz.core.sim.kubernetes.seen import Seen, SeenRule
from netviz.core.sim.nft.written import WrittenRule
from netviz.core.sim.packet import Packet
from netviz.core.sim.steps import ChainRef, HookVerdict, RuleHit
from netviz.core.sim.trace import Step
from tests.core.sim.build import Net, Ns, textbook
from tests.core.sim.nft import GOTO, JUMP, chain, e, elements, table, verdict

FAMILIES = {str(name): number for number, name in NFPROTO_NAMES.items()}
WEB, POD = "10.1.2.11:8080", "10.1.2.11:8080 (pod default/pod-2-1 on node-2)"


def says(
    matched: list[str],
    rule: str = "",
    within: str = "",
    base: str = "ip nat PREROUTING",
    net: tuple[Net, dict[str, Ns]] | None = None,
    dport: int = 80,
    dst: str = "10.96.0.1",
) -> str:
    """Ask for the meaning of a netfilter step on node-1."""
    built, made = net or textbook()
    cluster = built.cluster()
    packet = Packet(pack_ip("10.1.1.11"), pack_ip(dst), 6, 40000, dport)
    ns = cluster.nodes["node-1"].netns[made["node-1"].key]
    family, table, name = base.split(" ")
    ref = ChainRef(NftChain(FAMILIES[family], table, name), ns, cluster.bodies)
    hit = RuleHit(within, ChainBody((NftRuleBody(()),)), 0) if rule else None
    step = Step(1, ns.key, "cni0", packet, None, HookVerdict("accept", chain=ref, hit=hit))
    seen = Seen(cluster, ns, step)
    texts = [entry.split(": ", 1) for entry in matched] + ([[within, rule]] if rule and within else [])
    seen.rules = tuple(SeenRule(chain, partial(WrittenRule, text)) for chain, text in texts)
    return meaning(seen, set()).removeprefix("That is ").removesuffix(".")


SERVICES = (
    "KUBE-SERVICES: -d 10.96.0.1/32 -p tcp -m comment --comment "
    '"default/web:http cluster IP" -m tcp --dport 80 -j KUBE-SVC-A'
)
CHOICE = f'KUBE-SVC-A: -m comment --comment "default/web:http -> {WEB}" -j KUBE-SEP-A'
STICKY = (
    f'KUBE-SVC-A: -m comment --comment "default/web:http -> {WEB}" -m recent --rcheck --seconds 10800 '
    "--reap --name KUBE-SEP-A --rsource -j KUBE-SEP-A"
)
MASQ = "KUBE-SEP-A: -s 10.1.2.11/32 -m comment --comment default/web:http -j KUBE-MARK-MASQ"
DNAT = f"-p tcp -m comment --comment default/web:http -m tcp -j DNAT --to-destination {WEB}"
NODE_PORT = (
    "KUBE-NODEPORTS: -p udp -m comment --comment kube-system/dns:dns -m udp --dport 30053 -j KUBE-EXT-B"
)
OUTSIDE = (
    'KUBE-EXT-B: -m comment --comment "masquerade traffic for kube-system/dns:dns external destinations" '
    "-j KUBE-MARK-MASQ"
)
REFUSED = '-d 10.96.0.3/32 -m comment --comment "default/none:http has no endpoints" -j REJECT'


@pytest.mark.parametrize(
    ("matched", "rule", "within", "expected"),
    [
        ([SERVICES, CHOICE], DNAT, "KUBE-SEP-A", f"service default/web, port http, endpoint {POD}"),
        (
            [SERVICES, CHOICE, MASQ],
            DNAT,
            "KUBE-SEP-A",
            f"service default/web, port http, endpoint {POD}, to be masqueraded",
        ),
        (
            [SERVICES, STICKY],
            DNAT,
            "KUBE-SEP-A",
            f"service default/web, port http, endpoint {POD} by session affinity",
        ),
        (
            [NODE_PORT, OUTSIDE],
            "",
            "",
            "service kube-system/dns, port dns, reached by its node port, to be masqueraded",
        ),
        ([], REFUSED, "KUBE-SERVICES", "service default/none, port http, which has no endpoints"),
        ([], REFUSED, "INPUT", "service default/none, port http, which has no endpoints"),
        (
            [],
            '-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE',
            "KUBE-POSTROUTING",
            "kube-proxy's masquerading of service traffic",
        ),
        (
            [],
            '-m comment --comment "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose" '
            "-m set --match-set KUBE-LOOP-BACK dst,dst,src -j MASQUERADE",
            "KUBE-POSTROUTING",
            "kube-proxy's, in ipvs mode: a pod that reaches itself through its service, masqueraded",
        ),
        (
            ["KUBE-SERVICES: -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ"],
            "",
            "",
            "kube-proxy's, in ipvs mode: traffic to a service's cluster address",
        ),
        (
            [],
            "-m mark --mark 0x4000/0x4000 -j ACCEPT",
            "KUBE-FORWARD",
            "kube-proxy's rule that lets service traffic be forwarded",
        ),
        (
            [],
            '! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -j DROP',
            "KUBE-FIREWALL",
            "Kubernetes' guard of the loopback addresses against other hosts",
        ),
        (
            [],
            "-m mark --mark 0x8000/0x8000 -j DROP",
            "KUBE-FIREWALL",
            "Kubernetes' drop of packets that are marked for it",
        ),
        (["INPUT: -m comment --comment default/web:http -j ACCEPT"], "", "", ""),
        (["KUBE-POSTROUTING: -m mark ! --mark 0x4000/0x4000 -j RETURN"], "", "", ""),
        ([], "-j DROP", "my-chain", ""),
        ([], "", "", ""),
    ],
)
def test_kube_proxy_by_iptables(matched: list[str], rule: str, within: str, expected: str) -> None:
    """Services, endpoints with their pods, masquerading, ipvs mode's sets."""
    assert says(matched, rule, within) == expected


def test_kube_proxy_by_nftables() -> None:
    """Names come from chains; services without endpoints from the element's comment."""
    base = "ip kube-proxy filter-forward"
    title = "default/web/tcp/http"
    through = "services: ip daddr vmap @service-ips"
    choice = f"service-ABCDEFGH-{title}: numgen vmap @__map0"
    within = f"endpoint-HGFEDCBA-{title}__10.1.2.11/8080"
    rule = f"l4proto tcp dnat to {WEB}"
    assert says([through, choice], rule, within, base) == f"service default/web, port http, endpoint {POD}"
    assert says([through, choice], rule, within, "ip mine filter-forward") == ""
    built, made = textbook()
    table(made["node-1"], "kube-proxy")
    for name, key in (("no-endpoint-services", pack_ip("10.96.0.1")), ("no-endpoint-nodeports", b"")):
        whole = key + bytes([6, 0, 0, 0]) + (80).to_bytes(2, "big") + bytes(2)
        elem = SetElem(whole, verdict=GOTO, chain="reject-chain" if key else "", comment="default/none:http")
        elements(made["node-1"], name, elem, tbl="kube-proxy", key_len=len(whole))
    refused = "service-endpoints-check: ip daddr vmap @no-endpoint-services"
    expected = "service default/none, port http, which has no endpoints"
    assert says([refused], "reject", "reject-chain", base, (built, made)) == expected
    assert says([refused], "reject", "reject-chain", base, (built, made), dport=81) == ""
    expected = (
        "service default/none, port http, reached by its node port, which has no endpoints on this node"
    )
    dropped = "ip daddr l4proto vmap @no-endpoint-nodeports"
    assert says([], dropped, "nodeport-endpoints-check", base, (built, made)) == expected


@pytest.mark.parametrize(
    ("rule", "within", "base", "expected"),
    [
        (
            '-s 10.1.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE',
            "FLANNEL-POSTRTG",
            "ip nat POSTROUTING",
            "flannel's masquerading of what enters or leaves the pod network",
        ),
        ("-s 10.1.0.0/16 -j ACCEPT", "FLANNEL-FWD", "ip filter FORWARD",
         "flannel's rule that lets pods' traffic be forwarded"),
        ("ip saddr 10.1.0.0/16 masquerade", "postrtg", "ip flannel-ipv4 postrtg",
         "flannel's masquerading of what enters or leaves the pod network"),
        ("ip saddr 10.1.0.0/16 masquerade", "postrtg", "ip mine postrtg", ""),
        ('-m comment --comment "kind-masq-agent: outbound traffic is subject to MASQUERADE" -j MASQUERADE',
         "KIND-MASQ-AGENT", "ip nat POSTROUTING", "kindnet's masquerading of what leaves the cluster"),
        ("masquerade counter", "postrouting", "inet kindnet-ipmasq postrouting",
         "kindnet's masquerading of what leaves the cluster"),
        ("ip daddr @noMasqV4 accept", "postrouting", "inet kindnet-ipmasq postrouting",
         "kindnet's rule that leaves the cluster's own traffic as it is"),
        ("ip saddr @podips-v4 queue", "prerouting", "inet kindnet-network-policies prerouting",
         "kindnet's network policies, which its agent decides outside the kernel"),
        (f'tcp dport 8080 dnat to {WEB} comment "abc"', "hostports", "ip cni_hostport prerouting",
         f"host port 80 (CNI portmap plugin), endpoint {POD}"),
        ('ip saddr 10.1.1.11 masquerade comment "0af, net: lab, if: eth0, id: c1"', "masq_checks",
         "inet cni_plugins_masquerade postrouting",
         'the CNI plugin\'s masquerading of network "lab" (ipMasq)'),
        ("-s 10.1.2.11/32 -j ACCEPT", "CNI-FORWARD", "ip filter FORWARD",
         "the CNI firewall plugin's rule that lets traffic from pod default/pod-2-1 on node-2 be forwarded"),
        ("-s 10.1.2.11/32 -j DROP", "CNI-ADMIN", "ip filter FORWARD",
         "the administrator's own rule for the CNI firewall plugin"),
        ("-j MASQUERADE", "CNI-notahash", "ip nat POSTROUTING", ""),
    ],
)  # fmt: skip
def test_network_plugins(rule: str, within: str, base: str, expected: str) -> None:
    """flannel, kindnet and the CNI plugins, in iptables and in nftables; not another's chains of like names."""
    assert says([], rule, within, base) == expected


KUBE_ROUTER = [
    'KUBE-ROUTER-FORWARD: -d 10.1.2.11/32 -m comment --comment "rule to jump traffic destined to POD name:{} '
    'namespace: {} to chain KUBE-POD-FW-AIWVY7TMPWP7PXQH" -j KUBE-POD-FW-AIWVY7TMPWP7PXQH',
    'KUBE-POD-FW-AIWVY7TMPWP7PXQH: -m comment --comment "run through nw policy deny-all" -j KUBE-NWPLCY-SB6L4XPQ7W7HDE22',
]
REFUSES = (
    '-m comment --comment "rule to REJECT traffic destined for POD name:{} namespace: {}" -j REJECT '
    "--reject-with icmp-port-unreachable"
)


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (("pod-2-1", "default"), ""),
        (
            ("nightly", "batch"),
            "; but 10.1.2.11 is pod default/pod-2-1 on node-2 now, so the rule is stale",
        ),
    ],
)
def test_kube_router(pod: tuple[str, str], expected: str) -> None:
    net, made = textbook()
    said = [text.format(*pod) for text in KUBE_ROUTER]
    phrase = says(
        said,
        REFUSES.format(*pod),
        "KUBE-POD-FW-AIWVY7TMPWP7PXQH",
        "ip filter FORWARD",
        (net, made),
        dst="10.1.2.11",
    )
    named = f"{pod[1]}/{pod[0]}"
    assert (
        phrase
        == f"kube-router's rule for traffic to pod {named}, by its network policies (deny-all){expected}"
    )
    assert says(said, REFUSES.format(*pod), "KUBE-POD-FW-notahash", "ip filter FORWARD", (net, made)) == ""


def calico(layer: str, chain_name: str, comment: str) -> tuple[Net, dict[str, Ns]]:
    """A node with the chain of a policy, and a device of Calico's that leads to a pod."""
    built, made = textbook()
    node = made["node-1"]
    pod = built.netns("node-1", "p", pod=made["pod-1-1"].pod)
    built.veth(pod, "eth0", node, "cali123")
    said = e("match", name="comment", rev=0, info=comment.encode().ljust(256, b"\0"))
    chain(node, chain_name, (said, verdict(JUMP, "x")), tbl=layer)
    return built, made


@pytest.mark.parametrize(("layer", "prefix"), [("filter", ""), ("calico", "filter-")])
def test_calico(layer: str, prefix: str) -> None:
    """Which policy let the packet in, and that none did, where Felix's comments tell."""
    policy, own = f"{prefix}cali-pi-_abc", f"{prefix}cali-tw-cali123"
    base = f"ip {layer} {prefix}FORWARD"
    start = f"{prefix}cali-to-wl-dispatch: -o cali123 -g {own}"
    ask = f"{own}: -m mark --mark 0x0/0x20000 -j {policy}"
    passed = (
        f'{own}: -m comment --comment "cali:x" -m comment --comment "Return if policy accepted" -j RETURN'
    )
    drop = '-m comment --comment "cali:y" -m comment --comment "End of tier default. Drop if no policies passed packet" -j DROP'
    for comment, name in (
        ("Policy default/knp.default.deny-all ingress", "network policy default/deny-all"),
        ("KubernetesNetworkPolicy default/deny-all ingress", "network policy default/deny-all"),
        ("GlobalNetworkPolicy cluster-wide ingress", "global network policy cluster-wide"),
        ("something else", "a policy"),
    ):
        net = calico(layer, policy, comment)
        accepted = says([start, ask, passed], "", "", base, net)
        assert accepted == f"Calico's: {name} lets it in to pod default/pod-1-1"
        dropped = says([start, ask], drop, own, base, net)
        assert dropped == f"Calico's: {name}: no policy lets it in to pod default/pod-1-1"
    outgoing = "-m set --match-set cali40masq-ipam-pools src -j MASQUERADE"
    said = says([], outgoing, f"{prefix}cali-nat-outgoing", base)
    assert said == "Calico's: masquerading of what pods send out of the pods' networks"


def rule_of(text: str) -> SeenRule:
    return SeenRule("c", partial(WrittenRule, text))


def test_reading_rules() -> None:
    """Comments quoted, bare, several, none; jumps of iptables and of nft."""
    assert rule_of('-m comment --comment "a b" -j X').comment == "a b"
    assert rule_of("-m comment --comment a/b:c -j X").comment == "a/b:c"
    assert rule_of('-m comment --comment cali:x -m comment --comment "y z"').comments == ("cali:x", "y z")
    assert rule_of('drop comment "y z"').comments == ("y z",)
    assert rule_of("-j X").comment == ""
    targets = [rule_of(text).target for text in ("-s 1.2.3.4/32 -g Y", "ip saddr jump z", "accept")]
    assert targets == ["Y", "z", ""]
