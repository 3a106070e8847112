"""The rules of the house that no linter knows."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def tracked(*patterns: str) -> list[Path]:
    out = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, check=True)
    return [ROOT / name for name in out.stdout.decode().split("\0") if name]


def test_the_netviz_package_is_empty_so_that_agents_need_no_django() -> None:
    assert (ROOT / "netviz" / "__init__.py").read_bytes() == b""


def test_importing_the_collector_loads_no_django_and_no_pyroute2() -> None:
    code = (
        "import sys, agents.__main__;"
        "print([m for m in sys.modules if m.partition('.')[0] in ('django','channels','celery','pyroute2','grpc')])"
    )
    out = subprocess.run(
        [ROOT / ".venv/bin/python", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "pattern", ["netviz/**/*.html", "frontend/src/**", "netviz/**/*.css", "frontend/*.html"]
)
def test_pages_name_no_other_host(pattern: str) -> None:
    allowed = ("http://www.w3.org/",)  # XML namespaces are names, not addresses
    for path in tracked(pattern):
        for url in re.findall(r"(?:https?:)?//[a-z0-9][\w.-]*\.[a-z]{2,}[^\s\"'`)]*", path.read_text()):
            assert url.startswith(allowed), f"{path}: {url}"


def test_lock_files_name_no_registry() -> None:
    lock = json.loads((ROOT / "frontend" / "package-lock.json").read_text())
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
    for path in tracked("requirements*.txt", "*.npmrc"):
        assert "://" not in path.read_text(), path


def test_every_top_level_folder_is_part_of_the_design() -> None:
    known = {".ci", "agents", "deploy", "docs", "frontend", "lab", "netviz", "scripts", "tests"}
    folders = {p.relative_to(ROOT).parts[0] for p in tracked() if len(p.relative_to(ROOT).parts) > 1}
    assert folders <= known
