#!/usr/bin/env python3
"""Set up what `make demo` and `make test` need, once; a second run only checks stamps.

Runs on the bare system Python (3.11 or newer, standard library only). `run` sets up the virtual
environment, the pinned packages, and the browser bundle; `test` adds the test packages, the
system's tools and a Chromium; `npm ...` runs npm for the page; `lock` pins anew what requirements*.in ask for.
What cannot be installed is named in one line, with the command.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
FRONTEND = ROOT / "frontend"
BUNDLE = ROOT / "netviz" / "static" / "dist"
# Each has its direct needs in NAME.in, and in NAME.txt every package with the digests of its files (`lock`).
LOCKED = (
    "requirements-collector",
    "requirements-server",
    "requirements",
    "requirements-dev",
    "requirements-node",
)
LOCKER = "uv==0.13.9"

# command that proves it is there -> Debian package
LAB_TOOLS = {"ip": "iproute2", "nft": "nftables"}
TEST_TOOLS = {
    **LAB_TOOLS,
    "iptables": "iptables",
    "ebtables": "ebtables",
    "ipset": "ipset",
    "conntrack": "conntrack",
    "nfacct": "nfacct",
    "redis-server": "redis-server",
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/postgresql": "postgresql",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "busybox": "busybox-static",
    "gcc": "gcc",
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf": "fonts-dejavu-core",
}
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class SetupError(Exception):
    """What stopped the set-up, in one line that says what to do."""


def step(text: str) -> None:
    print(f"  {text}", flush=True)


def run(argv: list[str], *, cwd: Path = ROOT, env: dict[str, str] | None = None, what: str) -> None:
    """Run a command quietly; on failure show the end of its output and stop."""
    started = time.monotonic()
    step(f"{what} ...")
    done = subprocess.run(argv, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.stderr.write("\n".join(done.stdout.splitlines()[-25:]) + "\n")
        raise SetupError(f"{what} failed; the command was: {' '.join(argv)}")
    step(f"{what}: done in {time.monotonic() - started:.0f} s")


def digest(paths: Iterable[Path]) -> str:
    """Digest files' names and contents."""
    total = hashlib.sha256(sys.version.encode())
    for path in sorted(paths):
        total.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def fresh(stamp: Path, value: str) -> bool:
    return stamp.exists() and stamp.read_text() == value


def apt_install(packages: list[str]) -> None:
    """Install Debian packages, or say what to install."""
    command = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SetupError(f"please install {', '.join(packages)} first, on Debian or Ubuntu: sudo {command}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-q"], env=env, what="refresh the package list")
    # A package's service must not start on its own: tests start what they need on loopback.
    policy = Path("/usr/sbin/policy-rc.d")
    made = not policy.exists()
    if made:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        run(command.split(), env=env, what=f"install {' '.join(packages)}")
    finally:
        if made:
            policy.unlink(missing_ok=True)


def present(probe: str) -> bool:
    if probe.startswith("/"):
        return Path(probe).exists()
    return (
        shutil.which(probe, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin") is not None
    )


def system_tools(tools: dict[str, str]) -> None:
    missing = sorted({package for probe, package in tools.items() if not present(probe)})
    if missing:
        apt_install(missing)


def virtual_environment() -> None:
    stamp = VENV / ".made.stamp"
    if stamp.exists() and (BIN / "python").exists():
        return
    try:
        import ensurepip  # noqa: F401 (Debian ships it apart, in python3-venv)
    except ImportError:
        apt_install([f"python3.{sys.version_info.minor}-venv"])
    run([sys.executable, "-m", "venv", "--clear", str(VENV)], what="make the virtual environment")
    stamp.touch()


PIP_INSTALL = (str(BIN / "python"), "-m", "pip", "install", "--disable-pip-version-check", "-q")


def python_packages(requirements: str) -> None:
    """Install exactly what a lock file lists; pip refuses a file with another digest."""
    stamp = VENV / f".{requirements}.stamp"
    value = digest(ROOT.glob("requirements*.txt"))
    if fresh(stamp, value):
        return
    run(
        [*PIP_INSTALL, "--require-hashes", "-r", requirements],
        what=f"install the packages of {requirements}",
    )
    stamp.write_text(value)


def lock() -> None:
    """Pin what requirements*.in ask for, with all that it needs, for every Python and system."""
    run([*PIP_INSTALL, LOCKER], what=f"install {LOCKER}")
    options = ["--universal", "--python-version=3.11", "--generate-hashes", "--no-annotate", "--no-header"]
    options += ["--no-emit-index-url", "--no-emit-find-links", "--quiet"]
    for name in LOCKED:
        run(
            [str(BIN / "uv"), "pip", "compile", *options, "--output-file", f"{name}.txt", f"{name}.in"],
            what=f"lock {name}",
        )


def node_version() -> tuple[int, ...]:
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return (0,)
    out = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    return tuple(int(part) for part in re.findall(r"\d+", out)[:2]) or (0,)


def frontend_sources() -> list[Path]:
    named = (p for p in FRONTEND.iterdir() if p.is_file())
    return [*named, *(p for p in (FRONTEND / "src").rglob("*") if p.is_file())]


def node_environment() -> dict[str, str]:
    """Make sure of a Node.js that is new enough; the environment to run npm in.

    A Node.js inside the virtual environment comes first in PATH only if the system's is too old.
    """
    version = node_version()
    if version >= (22, 12) or (20, 19) <= version < (21,):
        return dict(os.environ)
    if not (BIN / "node").exists():
        python_packages("requirements-node.txt")
    return {**os.environ, "PATH": f"{BIN}:{os.environ.get('PATH', '')}"}


def node_packages() -> dict[str, str]:
    env = node_environment()
    stamp = FRONTEND / "node_modules" / ".stamp"
    value = digest([FRONTEND / "package.json", FRONTEND / "package-lock.json"])
    if not fresh(stamp, value):
        run(
            ["npm", "ci", "--no-audit", "--no-fund"],
            cwd=FRONTEND,
            env=env,
            what="install the page's packages",
        )
        stamp.write_text(value)
    return env


def browser_bundle() -> None:
    stamp = BUNDLE / ".stamp"
    value = digest(frontend_sources())
    if fresh(stamp, value):
        return
    env = node_packages()
    run(["npm", "run", "build"], cwd=FRONTEND, env=env, what="build the page's bundle")
    stamp.write_text(value)


def chromium_works() -> bool:
    """Tell whether a Chromium runs: where Ubuntu has no snaps, its package is only a note saying so."""
    found = (path for name in CHROMIUM_NAMES if (path := shutil.which(name)))
    return any(subprocess.run([path, "--version"], capture_output=True).returncode == 0 for path in found)


def chromium() -> None:
    if not chromium_works():
        apt_install(["chromium"])
    if not chromium_works():
        raise SetupError(
            "the system's chromium doesn't run here; install Chromium or Google Chrome from a .deb package"
        )


def npm(arguments: list[str]) -> None:
    """Run npm in the frontend's folder, with whichever Node.js was set up."""
    sys.exit(subprocess.run(["npm", "--silent", *arguments], cwd=FRONTEND, env=node_environment()).returncode)


def main(goal: str, *arguments: str) -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 (this file runs on whatever python3 the system has)
        version = sys.version.split()[0]
        raise SetupError(f"netviz needs Python 3.11 or newer, this is {version}: make PYTHON=python3.12 ...")
    virtual_environment()
    if goal == "npm":
        npm(list(arguments))
    if goal == "lock":
        lock()
        return
    if goal == "test":
        python_packages("requirements-dev.txt")
        system_tools(TEST_TOOLS)
        chromium()
        node_packages()
    else:
        python_packages("requirements.txt")
        if sys.platform == "linux":
            system_tools_for_demo()
    browser_bundle()


def system_tools_for_demo() -> None:
    """The lab's tools. Without them the demo still runs, on a recording: it says so itself."""
    try:
        system_tools(LAB_TOOLS)
    except SetupError as err:
        step(f"note: {err}")


if __name__ == "__main__":
    try:
        main(*(sys.argv[1:] or ["run"]))
    except SetupError as err:
        sys.exit(f"netviz set-up: {err}")
    except KeyboardInterrupt:
        sys.exit(130)
