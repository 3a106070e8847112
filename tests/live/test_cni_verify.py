"""`lab cni-verify` on the real plugins of the distribution, and on one that does one thing wrong at a time."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from lab.__main__ import main
from lab.cni.conf import ConfError
from lab.cni_verify.findings import Findings
from lab.cni_verify.run import Wanted, verify
from lab.kinds.cni import BIN
from tests.slow import first_quick

pytestmark = pytest.mark.live
SAMPLE = Path(__file__).with_name("sample_plugin.py")
POOL = {"type": "host-local", "ranges": [[{"subnet": "${POD_CIDR4}"}], [{"subnet": "${POD_CIDR6}"}]]}
IPAM = {**POOL, "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}
WIRE = {
    "type": "host-local",
    "ranges": [
        [
            {
                "subnet": f"${{UNDERLAY{family}}}",
                "rangeStart": f"${{UNDERLAY{family}_FIRST}}",
                "rangeEnd": f"${{UNDERLAY{family}_LAST}}",
                "gateway": f"${{ROUTER{family}}}",
            }
        ]
        for family in (4, 6)
    ],
    "routes": IPAM["routes"],
}
BRIDGE = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": IPAM}
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
FIREWALL = {"type": "firewall", "backend": "iptables"}
DEBIAN: dict[str, list[dict[str, Any]]] = {
    "bridge": [BRIDGE, PORTMAP, FIREWALL],
    "bridge-masq": [{**BRIDGE, "ipMasq": True}, FIREWALL],
    "ptp": [{"type": "ptp", "ipMasq": False, "ipam": IPAM}],
    "macvlan": [{"type": "macvlan", "master": "eth0", "mode": "bridge", "ipam": WIRE}],
}
# What really isn't as it should be with some of them: the entry, and what it says.
KNOWN = {
    # It looks for rules of IPv6 that it makes under another condition.
    "bridge": {"CHECK": "portmap CHECK failed: could not check ipv6 dnat"},
    # ipMasq spares the container's own range alone; DEL finds its chain by the addresses that it still sees.
    "bridge-masq": {
        "contract, predicted, as it was built": "nat-between-pods",
        "contract, real packets, as it was built": "packets come from 172.30.0.1",
        "contract, predicted, after the changes": "nat-between-pods",
        "contract, real packets, after the changes": "packets come from 172.30.0.1",
        "left behind": "nft chain CNI-",
    },
}
# What each flaw is found as: the entries, and what they say.
FLAWS = {
    "": {},
    "leaves-veth": {"left behind": "node1: link nvs"},
    "same-address": {"addresses": "was given to"},
    "no-route": {
        "contract, real packets, as it was built": "unreachable",
        "contract, predicted, as it was built": "default route",
    },
    "hangs": {"ADD": "sample ADD hangs: it didn't end within 5 s, and was killed"},
    "junk": {"ADD": "sample ADD printed what is no JSON object: attached, all is well"},
    "gc-does-nothing": {"GC": "lease of"},
}


def quiet(_: str) -> None:
    return


def conf(plugins: list[dict[str, Any]], version: str = "1.0.0") -> str:
    return json.dumps({"cniVersion": version, "name": "test-net", "plugins": plugins})


def wrong(found: Findings) -> dict[str, str]:
    """What doesn't hold: entry -> all that it says."""
    return {entry.name: "\n".join(entry.wrong) for entry in found.entries if entry.wrong}


def said(found: Findings, expected: dict[str, str]) -> bool:
    got = wrong(found)
    return all(words in got.get(name, "") for name, words in expected.items())


@pytest.mark.parametrize("name", first_quick(DEBIAN, 1))
def test_the_distributions_plugins_hold_but_for_what_is_known(name: str) -> None:
    found = verify(Wanted(conf(DEBIAN[name]), BIN, rounds=1, timeout_s=60.0), quiet)
    assert wrong(found).keys() == KNOWN.get(name, {}).keys(), wrong(found)
    assert said(found, KNOWN.get(name, {})), wrong(found)
    assert found.nodes == 2
    assert {entry.name for entry in found.entries if entry.result == "not checked"} == {"STATUS", "GC"}


@pytest.mark.parametrize("flaw", first_quick(sorted(FLAWS, key="leaves-veth".__ne__), 1))
def test_what_a_plugin_does_wrong_is_found_and_named(flaw: str, tmp_path: Path) -> None:
    shutil.copy(SAMPLE, tmp_path / "sample")
    plugin = {"type": "sample", "subnet": "${POD_CIDR4}", "dataDir": "${DATA_DIR}", "flaw": flaw}
    limit_s = 5.0 if flaw == "hangs" else 60.0
    found = verify(Wanted(conf([plugin], "1.1.0"), tmp_path, nodes=1, rounds=1, timeout_s=limit_s), quiet)
    assert said(found, FLAWS[flaw]), wrong(found)
    assert bool(wrong(found)) == bool(flaw) == bool(found.status)
    if not flaw:
        assert {entry.result for entry in found.entries} == {"holds"}
        assert {"STATUS", "CHECK", "GC"} <= {entry.name for entry in found.entries}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "it is no JSON"),
        (conf([{"type": "no-such-plugin"}]), "has no program no-such-plugin"),
        (conf([], "1.0.0"), "it has no plugins"),
        (conf([{"type": "bridge"}], "7.0.0"), "write one of 0.3.0"),
        (conf([{"type": "bridge", "name": "${POD_CIDR5}"}]), "there are: ${DATA_DIR}"),
    ],
)
def test_what_cannot_be_run_says_what_to_change(text: str, says: str) -> None:
    with pytest.raises(ConfError, match=says.replace("$", r"\$").replace("{", r"\{").replace("}", r"\}")):
        verify(Wanted(text, BIN), quiet)


def test_a_file_that_is_not_there_is_bad_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["lab", "cni-verify", "--conf", f"/nonexistent-{os.getpid()}"])
    assert main() == 2
    assert "can't be read" in capsys.readouterr().err
