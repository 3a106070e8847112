"""A new database as migrations make it, made once: forty migrations are a second of work for every server of a test."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from lab.stack import ROOT

NAME = "netviz.sqlite3"


def give_database(folder: Path) -> None:
    """Let a server's folder have a database that is up to date and empty, unless it has one."""
    if not (folder / NAME).exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_template(), folder / NAME)


@cache
def _template() -> Path:
    """The database of the present migrations and the packages that bring their own."""
    sources = [*ROOT.glob("netviz/*/migrations/*.py"), *ROOT.glob("requirements*.txt")]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sorted(sources))).hexdigest()
    template = ROOT / "var" / f"test-template-{digest[:16]}.sqlite3"
    if not template.exists():
        template.parent.mkdir(exist_ok=True)
        with TemporaryDirectory(dir=template.parent) as made:
            env = {**os.environ, "NETVIZ_VAR_DIR": made}
            subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=env, check=True)
            (Path(made) / NAME).rename(template)
    return template
