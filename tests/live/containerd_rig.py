"""A real containerd of our own, as a node's runtime, and the few CRI calls that make pods.

Needs containerd, runc, busybox (static) and the CNI plugins; what is missing fails the test.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from agents.collectors.cri import SERVICE, make_message, parse_message
from tests.live.collector_rig import Namespace, run

# What a kubelet has the runtime write into a sandbox's resolv.conf: server, domain, option.
DNS = (b"10.96.0.10", b"shop.svc.cluster.local", b"ndots:5")
IMAGE = "nv.local/busybox:1"
CNI_BIN = "/usr/lib/cni"

CONFIG = """
version = 2
root = "{home}/root"
state = "{home}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{home}/containerd.sock"
[ttrpc]
  address = "{home}/containerd.sock.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni}"
    conf_dir = "{home}/cni"
"""

CNI = {
    "cniVersion": "0.4.0",
    "name": "nv-net",
    "plugins": [
        {
            "type": "ptp",
            "ipam": {
                "type": "host-local",
                "subnet": "10.77.0.0/24",
                "dataDir": "",
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
    ],
}


def _docker_archive(path: Path) -> None:
    """Pack busybox as an image, so that nothing is fetched."""
    busybox = shutil.which("busybox")
    assert busybox is not None, "busybox is missing: install busybox-static"
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(busybox, "bin/busybox")
    blob = layer.getvalue()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/bin/busybox", "sleep", "600"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(blob).hexdigest()}"]},
        }
    ).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(path, "w") as tar:
        for name, data in (("layer.tar", blob), ("config.json", config), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


class Runtime:
    """A running containerd; `node` is the namespace it works in."""

    def __init__(self, home: Path, node: Namespace) -> None:
        self.home = home
        self.socket = f"{home}/containerd.sock"
        (home / "cni").mkdir()
        (home / "tmp").mkdir()
        plugins: dict[str, Any] = json.loads(json.dumps(CNI))
        plugins["plugins"][0]["ipam"]["dataDir"] = f"{home}/ipam"
        (home / "cni" / "10-nv.conflist").write_text(json.dumps(plugins))
        (home / "config.toml").write_text(CONFIG.format(home=home, image=IMAGE, cni=CNI_BIN))
        _docker_archive(home / "image.tar")
        for program in ("containerd", "runc", "ctr", "nsenter"):
            assert shutil.which(program) is not None, f"{program} is missing"
        assert os.path.exists(f"{CNI_BIN}/ptp"), (
            "the CNI plugins are missing: install containernetworking-plugins"
        )
        self._node = node
        self._start()
        self._channel = grpc.insecure_channel(f"unix://{self.socket}")
        self._sandboxes: dict[str, bytes] = {}

    def _start(self) -> None:
        with open(self.home / "log", "ab") as log:
            self._process = subprocess.Popen(
                ["nsenter", f"--net={self._node.path}", "containerd", "--config", f"{self.home}/config.toml"],
                stdout=log,
                stderr=log,
                env={**os.environ, "TMPDIR": f"{self.home}/tmp"},
            )

    def wait(self, timeout_s: float = 300) -> None:
        """Wait until it answers, and give it the image."""
        end = time.monotonic() + timeout_s
        while True:
            try:
                self.call("Version")
                break
            except grpc.RpcError:
                log = (self.home / "log").read_text(errors="replace")
                assert self._process.poll() is None, log[-2000:]
                assert time.monotonic() < end, log[-2000:]
                time.sleep(0.1)

    def load_image(self) -> None:
        """Give it the one image that everything here runs."""
        where = ("ctr", "-a", self.socket, "-n", "k8s.io")
        run(*where, "images", "import", "--snapshotter", "native", f"{self.home}/image.tar")

    def call(self, method: str, request: bytes = b"") -> dict[int, list[Any]]:
        """Make one CRI call and return the fields of the answer."""
        return parse_message(self._channel.unary_unary(f"{SERVICE}/{method}")(request, timeout=300))

    def run_pod(
        self, name: str, namespace: str, labels: dict[str, str], *, host_network: bool = False
    ) -> str:
        """Make a pod sandbox and return its id."""
        pairs = [(6, make_message((1, k.encode()), (2, v.encode()))) for k, v in labels.items()]
        metadata = make_message((1, name.encode()), (2, f"uid-{name}".encode()), (3, namespace.encode()))
        linux = make_message((1, f"/{self.home.name}".encode()))  # cgroup_parent
        if host_network:  # security_context.namespace_options.network = NODE
            linux += make_message((2, make_message((1, make_message((1, 2))))))
        config = make_message(
            (1, metadata),
            (2, b"" if host_network else name.encode()),
            (3, f"{self.home}/logs".encode()),
            (4, make_message(*enumerate(DNS, 1))),  # dns_config
            *pairs,
            (8, linux),
        )
        sandbox = self.call("RunPodSandbox", make_message((1, config)))[1][0].decode()
        self._sandboxes[sandbox] = config
        return sandbox

    def run_container(self, sandbox: str, name: str) -> None:
        """Start a container in a sandbox."""
        config = make_message(
            (1, make_message((1, name.encode()))),
            (2, make_message((1, IMAGE.encode()))),
            *[(3, word.encode()) for word in ("/bin/busybox", "sleep", "600")],
            (11, f"{name}.log".encode()),
        )
        request = make_message((1, sandbox.encode()), (2, config), (3, self._sandboxes[sandbox]))
        container = self.call("CreateContainer", request)[1][0]
        self.call("StartContainer", make_message((1, container)))

    def remove_pod(self, sandbox: str) -> None:
        """Stop a sandbox with all that runs in it, and remove it."""
        self.call("StopPodSandbox", make_message((1, sandbox.encode())))
        self.call("RemovePodSandbox", make_message((1, sandbox.encode())))
        del self._sandboxes[sandbox]

    def stop(self) -> None:
        """End the daemon; the pods live on."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(300)

    def close(self) -> None:
        """Remove everything; a daemon that was stopped is started again to end its pods."""
        try:
            if self._process.poll() is not None:
                self._start()
                self.wait()
            for sandbox in list(self._sandboxes):
                self.remove_pod(sandbox)
        finally:
            self._channel.close()
            if self._process.poll() is None:
                self.stop()
            shutil.rmtree(self.home, ignore_errors=True)
            for group in Path("/sys/fs/cgroup").glob(f"**/{self.home.name}"):
                group.rmdir()


@contextmanager
def runtime(home: Path, node: Namespace) -> Iterator[Runtime]:
    """Run a containerd of our own in the empty directory `home`, which is removed with it."""
    made = Runtime(home, node)
    try:
        made.wait()
        made.load_image()
        yield made
    finally:
        made.close()
