"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 400
# What core may import: values and how to work on them. Nothing that reads a clock, a file or a socket, starts a
# thread, or draws at random. `logging` is there to say which kept record can't be read; it decides nothing.
PURE = {
    *(
        "__future__",
        "bisect",
        "calendar",
        "collections",
        "contextlib",
        "enum",
        "functools",
        "hashlib",
        "ipaddress",
    ),
    *("itertools", "logging", "operator", "re", "struct", "types", "typing", "weakref", "zlib"),
    *("msgspec", "netviz.core"),
}


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


def imported(source: str) -> set[str]:
    """The modules that a file imports, wherever in it."""
    names: set[str] = set()
    for statement in ast.walk(ast.parse(source)):
        match statement:
            case ast.Import():
                names.update(alias.name for alias in statement.names)
            case ast.ImportFrom():
                names.add("." * statement.level + (statement.module or ""))
            case ast.Call(func=ast.Name("__import__") | ast.Attribute(attr="import_module")):
                names.add(ast.unparse(statement))
    return names


def impure(source: str) -> set[str]:
    return {
        name
        for name in imported(source)
        if not any(name == pure or name.startswith(f"{pure}.") for pure in PURE)
    }


def test_core_imports_only_what_is_pure() -> None:
    found = {str(path.relative_to(ROOT)): impure(path.read_text()) for path in tracked("netviz/core/*.py")}
    assert len(found) > 100
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "from random import random",
        "import os.path",
        "from netviz.ingest.store import Store",
        "from netviz import settings",
        "import collections, socket",
        "from . import clock",
        "importlib.import_module('time')",
        "__import__('time')",
    ],
)
def test_an_import_that_is_not_listed_is_found_also_within_a_function(line: str) -> None:
    assert len(impure(f"from collections.abc import Mapping\ndef f():\n    {line}\n")) == 1


def test_no_module_is_above_400_lines() -> None:
    modules = tracked("netviz/*.py", "agents/*.py", "lab/*.py", "frontend/src/*.ts")
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules}
    assert len(lines) > 300
    assert [name for name, count in lines.items() if count > MOST_LINES] == []
