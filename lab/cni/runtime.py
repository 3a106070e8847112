"""A node's container runtime, as far as CNI goes: it calls a network's plugins and remembers what they answered.

Plugins are run in the node's network namespace, as processes of the machine. A plugin that doesn't end in time is
killed with all that it started.

Source: the CNI specification 1.1.0, sections 2 and 3 (github.com/containernetworking/cni).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from lab.cni.conf import Json, Network
from lab.spec import LabError

TIMEOUT_S = 60.0
IFNAME = "eth0"
MAX_QUOTED = 300


class PluginError(LabError):
    """A plugin failed; the text names it, the operation, and what it did."""


class Attachment(msgspec.Struct, frozen=True):
    """A container that is attached to a network: its id, its namespace's file, and what the runtime says of it.

    `env` goes to CNI_ARGS, `args` to the configuration's "args"; `ports` are mappings as the portMappings
    convention has them: {"hostPort", "containerPort", "protocol"}.
    """

    container: str
    netns: str
    env: dict[str, str] = {}
    args: Json = {}
    ports: list[Json] = []


class Runtime:
    """Calls a network's plugins on one node. `results` is a folder for what ADD answered; calls may run at once."""

    def __init__(
        self, root: Path, network: Network, plugins: Path, results: Path, timeout_s: float = TIMEOUT_S
    ) -> None:
        self.network = network
        self._root, self._plugins, self._results, self._timeout_s = root, plugins, results, timeout_s

    # -- operations

    def add(self, attachment: Attachment) -> Json:
        """Attach a container: each plugin in order, with the result of the one before. Raises: PluginError."""
        result: Json | None = None
        for plugin in self.network.plugins:
            said = self._call("ADD", plugin, attachment, result)
            result = _parsed(said, plugin["type"], "ADD")
        assert result is not None
        self._results.mkdir(parents=True, exist_ok=True)
        self._kept(attachment).write_text(json.dumps(result))
        return result

    def check(self, attachment: Attachment) -> None:
        """Have each plugin say whether a container's network is as it left it. Raises: PluginError if not."""
        result = self.result(attachment)
        for plugin in self.network.plugins:
            self._call("CHECK", plugin, attachment, result)

    def delete(self, attachment: Attachment) -> None:
        """Detach a container: each plugin, the last one first. What is detached already is fine. Raises: PluginError."""
        result = self.result(attachment)
        for plugin in reversed(self.network.plugins):
            self._call("DEL", plugin, attachment, result)
        self._kept(attachment).unlink(missing_ok=True)

    def status(self) -> None:
        """Have each plugin say whether it is ready. Raises: PluginError if not."""
        for plugin in self.network.plugins:
            self._call("STATUS", plugin)

    def collect(self, valid: Sequence[Attachment]) -> None:
        """Have each plugin remove what belongs to no attachment but these (GC). Raises: PluginError."""
        listed = [{"containerID": one.container, "ifname": IFNAME} for one in valid]
        for plugin in self.network.plugins:
            self._call("GC", {**plugin, "cni.dev/valid-attachments": listed})

    def versions(self, kind: str) -> list[str]:
        """Ask a plugin which versions of the specification it supports. Raises: PluginError."""
        said = _parsed(self._call("VERSION", {"type": kind}), kind, "VERSION").get("supportedVersions")
        if not isinstance(said, list):
            raise PluginError(f"{kind} VERSION: its answer has no list supportedVersions")
        return [str(one) for one in said]

    # -- what it remembers

    def result(self, attachment: Attachment) -> Json | None:
        """What the last ADD of a container answered; None if it isn't attached."""
        with suppress(FileNotFoundError):
            found: Json = json.loads(self._kept(attachment).read_text())
            return found
        return None

    def _kept(self, attachment: Attachment) -> Path:
        return self._results / f"{self.network.name}-{attachment.container}-{IFNAME}"

    # -- calling

    def _call(
        self, command: str, plugin: Json, attachment: Attachment | None = None, result: Json | None = None
    ) -> str:
        """Call one plugin, and return what it prints. Raises: PluginError."""
        kind = plugin["type"]
        path = self._plugins / kind
        if not os.access(path, os.X_OK):
            raise PluginError(f"{kind}: there is no program {path}")
        config: Json = {**plugin, "cniVersion": self.network.version, "name": self.network.name}
        env = {**os.environ, "CNI_COMMAND": command, "CNI_PATH": str(self._plugins)}
        env["PATH"] = f"{env.get('PATH', '')}:/usr/sbin:/sbin"
        if attachment is not None:
            env |= {
                "CNI_CONTAINERID": attachment.container,
                "CNI_NETNS": attachment.netns,
                "CNI_IFNAME": IFNAME,
            }
            env["CNI_ARGS"] = ";".join(f"{key}={value}" for key, value in attachment.env.items())
            if attachment.args:
                config["args"] = attachment.args
            if plugin.get("capabilities", {}).get("portMappings"):
                config["runtimeConfig"] = {"portMappings": attachment.ports}
        if result is not None:
            config["prevResult"] = result
        argv = ["nsenter", f"--net={self._root}", "--", str(path)]
        return self._run(argv, json.dumps(config), env, f"{kind} {command}")

    def _run(self, argv: list[str], text: str, env: dict[str, str], what: str) -> str:
        pipe = subprocess.PIPE
        with subprocess.Popen(
            argv,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
            errors="replace",
            env=env,
            start_new_session=True,
        ) as process:
            try:
                out, err = process.communicate(text, timeout=self._timeout_s)
            except subprocess.TimeoutExpired:
                raise PluginError(
                    f"{what} hangs: it didn't end within {self._timeout_s:g} s, and was killed"
                ) from None
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        if process.returncode:
            raise PluginError(f"{what} failed: {_complaint(out, err, process.returncode)}")
        return out


def _parsed(said: str, kind: str, command: str) -> Json:
    try:
        found = json.loads(said)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise PluginError(f"{kind} {command} printed what is no JSON object: {quoted(said) or 'nothing'}")
    return found


def _complaint(out: str, err: str, status: int) -> str:
    """Say what a plugin that failed complains of: by the specification, it prints an error as JSON."""
    try:
        said = json.loads(out)
        words = [said["msg"], said.get("details", "")]
        return f"{quoted(': '.join(word for word in words if word))} (code {said['code']})"
    except (ValueError, KeyError, TypeError):
        return f"status {status}, and no error as CNI has them (code, msg) but {quoted(out) or quoted(err) or 'nothing'}"


def quoted(text: str) -> str:
    """What a plugin said, in one line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_QUOTED else f"{line[:MAX_QUOTED]}..."
