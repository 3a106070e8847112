"""What each side needs is declared, locked, and enough; nothing else is."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted(ROOT.glob("requirements*.in"))
PIN = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[a-z,]+\])?==(\S+)", re.MULTILINE)

# Imports every module of some packages where others cannot be imported, as if they weren't installed.
_IMPORT_ALL = """
import importlib, importlib.abc, os, pkgutil, sys
packages, absent = sys.argv[1].split(","), set(sys.argv[2].split(","))
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"no module named {name} here", name=name)
sys.meta_path.insert(0, Missing())
if "django" not in absent:
    os.environ["DJANGO_SETTINGS_MODULE"] = "netviz.settings"
    import django
    django.setup()
for package in packages:
    root = importlib.import_module(package)
    for found in pkgutil.walk_packages(root.__path__, f"{package}."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
print(len([name for name in sys.modules if name.partition(".")[0] in {p.partition(".")[0] for p in packages}]))
"""


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(path: Path) -> dict[str, str]:
    return {plain(name): version for name, version in PIN.findall(path.read_text())}


def modules(lock: str) -> set[str]:
    """Top-level modules of the distributions that a lock file lists."""
    locked = pins(ROOT / lock)
    owners = packages_distributions().items()
    return {module for module, names in owners if any(plain(name) in locked for name in names)}


@pytest.mark.parametrize("wanted", LOCKS, ids=lambda path: path.stem)
def test_every_package_is_locked_with_digests(wanted: Path) -> None:
    """`make lock` was run after the last change of what is wanted."""
    lock = wanted.with_suffix(".txt")
    assert pins(wanted).items() <= pins(lock).items()
    for entry in re.split(r"\n(?=\S)", lock.read_text().strip()):
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize(
    "part", ["requirements-collector.txt", "requirements-server.txt", "requirements.txt"]
)
def test_the_parts_agree_with_the_whole(part: str) -> None:
    assert pins(ROOT / part).items() <= pins(ROOT / "requirements-dev.txt").items()


@pytest.mark.parametrize(
    ("packages", "lock", "foreign"),
    [
        (
            "agents,netviz.core",
            "requirements-collector.txt",
            {"django", "channels", "celery", "redis", "pyroute2"},
        ),
        ("netviz", "requirements-server.txt", {"pyroute2", "grpc", "hypothesis"}),
    ],
    ids=["collector", "server"],
)
def test_a_side_needs_no_package_of_the_others(
    packages: str, lock: str, foreign: set[str], tmp_path: Path
) -> None:
    absent = packages_distributions().keys() - modules(lock) | {"agents", "lab", "tests"} - {
        packages.partition(",")[0]
    }
    assert foreign <= absent
    argv = [sys.executable, "-c", _IMPORT_ALL, packages, ",".join(absent)]
    env = {"PATH": "/usr/bin:/bin", "NETVIZ_VAR_DIR": str(tmp_path)}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


def test_what_is_imported_is_declared() -> None:
    """A package that comes along with another may go with it."""
    imported = set[str]()
    for folder in ("agents", "netviz", "lab", "manage.py"):
        for path in [ROOT / folder] if folder.endswith(".py") else (ROOT / folder).rglob("*.py"):
            found = re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(), re.MULTILINE)
            imported |= set(found)
    owners = packages_distributions()
    needed = {plain(name) for module in imported for name in owners.get(module, ())}
    wanted = (
        pins(ROOT / "requirements-collector.in")
        | pins(ROOT / "requirements-server.in")
        | pins(ROOT / "requirements.in")
    )
    named_in_settings = {"psycopg", "channels-redis"}
    assert needed <= wanted.keys() <= needed | named_in_settings
