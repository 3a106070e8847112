"""Database, secret and tokens are their owner's alone, and nothing secret crosses a network in the clear."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from agents.__main__ import build_parser
from agents.options import BadInput, file_behind
from agents.token_file import FORBIDDEN, TokenFileError, read_token
from agents.transport import is_private, socket_url
from lab.stack import ROOT
from netviz.checks import proxies_are_known
from netviz.inventory.models import Collector
from netviz.management.commands.serve import is_loopback

RECORDING = next((ROOT / "lab/recordings").glob("*.nvr"))


def manage(folder: Path, *words: str, umask: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a management command under a umask that takes nobody any right."""
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env={**os.environ, "NETVIZ_VAR_DIR": str(folder), "NETVIZ_SECRET_KEY": "", **env},
        capture_output=True,
        text=True,
        umask=umask,
        timeout=300,
    )


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


# Holds a connection, so that SQLite's files beside the database are there to be looked at.
LOOK = """
import os, django; django.setup()
from django.db import connection
from netviz.inventory.audit import record
record("a.b"); record("a.c")
print(sorted((p, oct(os.stat(os.path.join(os.environ["NETVIZ_VAR_DIR"], p)).st_mode & 0o777))
             for p in os.listdir(os.environ["NETVIZ_VAR_DIR"])))
"""


def test_what_the_server_keeps_is_its_owner_s_whatever_the_umask(tmp_path: Path) -> None:
    folder = tmp_path / "var"
    folder.mkdir(mode=0o777)
    assert manage(folder, "enrol", "n1").returncode == 0
    env = {**os.environ, "NETVIZ_VAR_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "netviz.settings"}
    for found in (False, True):
        done = subprocess.run(
            [sys.executable, "-c", LOOK], cwd=ROOT, env=env, capture_output=True, text=True, umask=0
        )
        assert done.returncode == 0, done.stderr
        names = ("netviz.sqlite3", "netviz.sqlite3-shm", "netviz.sqlite3-wal", "secret.key")
        assert done.stdout.strip() == str([(name, "0o600") for name in names]), found
        # What an earlier version left open is closed at the next start.
        for path in folder.iterdir():
            path.chmod(0o644)


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A umask that takes nobody any right."""
    before = os.umask(0)
    yield
    os.umask(before)


# Says when it is about to make a secret, and makes it when it is told to.
SLOW_KEY = """
import secrets, sys
make = secrets.token_urlsafe
secrets.token_urlsafe = lambda length: (print("making", flush=True), sys.stdin.readline(), make(length))[2]
from netviz import settings
print(settings.SECRET_KEY)
"""


def test_of_processes_that_start_at_once_on_a_fresh_folder_all_have_one_secret(tmp_path: Path) -> None:
    env = {**os.environ, "NETVIZ_VAR_DIR": str(tmp_path), "NETVIZ_SECRET_KEY": ""}
    starting = [
        subprocess.Popen(
            [sys.executable, "-c", SLOW_KEY],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in starting:
        assert process.stdout is not None
        assert process.stdout.readline() == "making\n"
    keys = [process.communicate("go\n", timeout=300)[0].strip() for process in starting]
    assert len(keys[0]) == 64
    assert keys[0] == keys[1]
    assert [path.name for path in tmp_path.iterdir() if "secret" in path.name] == ["secret.key"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "words", [["enrol", "n2", "--approve"], ["provision", "--user", "u2"], ["token", "make", "u", "x"]]
)
def test_tokens_are_written_for_their_owner_alone(
    tmp_path: Path,
    open_umask: None,
    person: Callable[[str], User],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    person("viewer")
    out = tmp_path / "secret file"
    out.touch(mode=0o666)
    call_command(*["a-viewer" if word == "u" else word for word in words], "--out", str(out))
    assert capsys.readouterr().out == ""
    assert re.search(r"nv[ac]_[\w-]{40}", out.read_text())
    assert modes(tmp_path) == {"secret file": 0o600}


@pytest.mark.django_db
def test_a_file_that_cannot_be_written_makes_no_token(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot write the token"):
        call_command("enrol", "n1", "--out", str(tmp_path / "none" / "file"))
    assert not Collector.objects.exists()


@pytest.mark.django_db
def test_what_is_no_file_is_left_as_it_is(tmp_path: Path) -> None:
    """Root could put a file in the place of /dev/stdout."""
    fifo, link, file = tmp_path / "fifo", tmp_path / "link", tmp_path / "file"
    os.mkfifo(fifo)
    for target in (fifo, tmp_path):
        link.symlink_to(target)
        with pytest.raises(CommandError, match="not a regular file"):
            call_command("enrol", "n1", "--out", str(link))
        with pytest.raises(BadInput, match="not a regular file"):
            file_behind(str(link))
        assert link.readlink() == target
        link.unlink()
    assert not Collector.objects.exists()
    link.symlink_to(file)
    call_command("enrol", "n1", "--out", str(link))
    assert link.readlink() == file
    assert file.read_text().startswith("nvc_")
    assert file_behind(str(link)) == str(file)


@pytest.mark.django_db
def test_a_refused_token_leaves_no_file(tmp_path: Path, person: Callable[[str], User]) -> None:
    person("viewer")
    with pytest.raises(CommandError, match="administer"):
        call_command(
            "token", "make", "a-viewer", "x", "--scope", "administer", "--out", str(tmp_path / "file")
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
def test_a_token_for_the_owner_or_a_group_is_read(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    path.write_text("nvc_x\n")
    path.chmod(mode)
    assert read_token(path) == "nvc_x"


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o606, 0o660, 0o601])
def test_a_token_that_others_can_read_is_refused_with_the_command_that_mends_it(
    tmp_path: Path, mode: int
) -> None:
    path = tmp_path / "my token"
    path.write_text("nvc_x\n")
    path.chmod(mode)
    with pytest.raises(TokenFileError) as refusal:
        read_token(path)
    command = re.search(r"run (chmod 600 .+) \(", str(refusal.value))
    assert command is not None
    subprocess.run(shlex.split(command[1]), check=True)
    assert read_token(path) == "nvc_x"


def test_a_secret_mounted_by_kubernetes_is_read_through_its_links(tmp_path: Path) -> None:
    data = tmp_path / "..2026_11_30"
    data.mkdir()
    (data / "n1").write_text("nvc_x")
    (data / "n1").chmod(0o440)
    (tmp_path / "..data").symlink_to(data.name)
    (tmp_path / "n1").symlink_to("..data/n1")
    assert read_token(tmp_path / "n1") == "nvc_x"


@pytest.mark.parametrize(
    ("server", "private"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost:8000", True),
        ("ws://[::1]:8000", True),
        ("https://netviz.example", True),
        ("wss://netviz.example", True),
        ("http://netviz.example", False),
        ("ws://10.0.0.1", False),
        ("http://127.0.0.1.example", False),
        ("http://localhost.example", False),
    ],
)
def test_where_plain_http_may_go(server: str, private: bool) -> None:
    assert is_private(socket_url(server)) is private


@pytest.mark.parametrize("command", [["run", "--node", "a"], ["replay", str(RECORDING)]])
def test_a_collector_sends_nothing_in_the_clear_unless_told_to(tmp_path: Path, command: list[str]) -> None:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    argv = [
        sys.executable,
        "-m",
        "agents",
        *command,
        "--server",
        "http://192.0.2.1",
        "--token-file",
        str(token),
    ]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--insecure-http" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_daemonset_s_collector_would_start() -> None:
    text = (ROOT / "deploy/collector.yaml").read_text()
    args = build_parser().parse_args(["run", *re.findall(r"^            - (--\S+)$", text, re.MULTILINE)])
    assert not args.allow_observe
    opted = re.sub(r"# (.*)  # to observe.*", r"\1", text)
    args = build_parser().parse_args(["run", *re.findall(r"^            - (--\S+)$", opted, re.MULTILINE)])
    assert args.allow_observe
    assert args.insecure_http or is_private(socket_url(args.server))
    mode = re.search(r"secretName: netviz-collector-tokens\n(?: +#.*\n)* +defaultMode: (0\d+)", text)
    assert mode is not None
    assert int(mode[1], 8) & FORBIDDEN == 0


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True)]
    + [("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("netviz.example", False), ("", False)],
)
def test_what_a_server_may_listen_on_in_the_clear(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_a_server_listens_to_the_network_in_the_clear_only_when_told_to(tmp_path: Path) -> None:
    done = manage(tmp_path, "serve", "--host", "0.0.0.0", NETVIZ_HTTPS="")
    assert done.returncode == 1
    assert "--insecure-http" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_nor_on_a_socket_that_it_inherits(settings: Any) -> None:
    settings.HTTPS = False
    with socket.create_server(("0.0.0.0", 0)) as listening, pytest.raises(CommandError) as told:
        call_command("serve", "--fd", str(listening.fileno()))
    assert str(told.value).startswith("on 0.0.0.0, ")
    assert "--insecure-http" in str(told.value)
    pipe, other = os.pipe()
    os.close(other)
    with pytest.raises(CommandError, match=f"--fd {pipe}: "):
        call_command("serve", "--fd", str(pipe))
    os.close(pipe)


def documented_settings() -> dict[str, str]:
    """The settings behind TLS, as docs/running.md lists them."""
    text = (ROOT / "docs/running.md").read_text()
    block = text.split("## Behind TLS")[1].split("\n\n    ")[1].split("\n\n")[0]
    return dict(re.findall(r"(NETVIZ_\w+)=(\S+)", block))


def test_check_deploy_is_clean_with_the_documented_settings(tmp_path: Path) -> None:
    settings = documented_settings()
    assert {"NETVIZ_HTTPS", "NETVIZ_ALLOWED_HOSTS", "NETVIZ_TRUSTED_PROXIES"} == settings.keys()
    done = manage(tmp_path, "check", "--deploy", "--fail-level", "WARNING", **settings)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


def test_check_deploy_asks_for_the_proxy(settings: Any) -> None:
    settings.HTTPS, settings.TRUSTED_PROXIES = True, []
    (warning,) = proxies_are_known(None)
    assert "NETVIZ_TRUSTED_PROXIES" in str(warning.hint)


def test_a_proxy_that_is_no_address_is_named(tmp_path: Path) -> None:
    done = manage(tmp_path, "check", NETVIZ_TRUSTED_PROXIES="10.0.0.0/33")
    assert done.returncode == 1
    assert "NETVIZ_TRUSTED_PROXIES: " in done.stderr


REDIRECTED = """
import django; django.setup()
from django.test import Client
for path in ("/login/", "/healthz", "/metrics"):
    for proto in ("http", "https"):
        print(path, proto, Client().get(path, headers={"host": "localhost", "X-Forwarded-Proto": proto}).status_code)
"""


def test_behind_tls_plain_http_is_sent_to_https_but_for_probes(tmp_path: Path) -> None:
    env = {**os.environ, "NETVIZ_VAR_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "netviz.settings"}
    done = subprocess.run(
        [sys.executable, "-c", REDIRECTED],
        cwd=ROOT,
        env={**env, "NETVIZ_HTTPS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "/login/ http 301",
        "/login/ https 200",
        "/healthz http 503",
        "/healthz https 503",
        "/metrics http 401",
        "/metrics https 401",
    ]
