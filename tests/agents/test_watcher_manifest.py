"""deploy/watcher.yaml allows what the watcher asks for, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from agents.__main__ import build_parser
from netviz.core.wire.kubernetes.api import RESOURCES

MANIFEST = Path(__file__).resolve().parents[2] / "deploy" / "watcher.yaml"


def objects() -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all(MANIFEST.read_text())}


def test_its_role_is_list_and_watch_of_exactly_what_is_asked_for() -> None:
    allowed = {
        (group, name, verb)
        for rule in objects()["ClusterRole"]["rules"]
        for group in rule["apiGroups"]
        for name in rule["resources"]
        for verb in rule["verbs"]
    }
    asked = set()
    for one in RESOURCES:
        parts = one.path.split("/")
        group = parts[2] if parts[1] == "apis" else ""
        asked |= {(group, one.name, verb) for verb in ("list", "watch")}
    assert allowed == asked
    assert not {"secrets", "configmaps"} & {name for _, name, _ in allowed}
    assert all(set(rule) == {"apiGroups", "resources", "verbs"} for rule in objects()["ClusterRole"]["rules"])


def test_one_runs_with_arguments_that_exist() -> None:
    spec = objects()["Deployment"]["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["python", "-m", "agents", "kubernetes"]
    args = build_parser().parse_args(["kubernetes", *container["args"]])
    assert args.token_file.startswith(container["volumeMounts"][0]["mountPath"])
    assert pod["volumes"][0]["secret"]["defaultMode"] == 0o440
    assert pod["serviceAccountName"] == objects()["ServiceAccount"]["metadata"]["name"]
