#!/usr/bin/python3 -IS
"""A small CNI plugin for the tests of `lab cni-verify`: veth pairs routed to the node, addresses from a range.

Its configuration's "flaw" makes it do one thing wrong: "leaves-veth", "same-address", "no-route", "hangs", "junk",
"gc-does-nothing". Without one it keeps all that CNI 1.1.0 asks of it.
"""

import fcntl
import ipaddress
import json
import os
import subprocess
import sys

GATEWAY = "169.254.1.1"


def ip(*words: str, netns: str = "") -> str:
    inside = ["nsenter", f"--net={netns}", "--"] if netns else []
    done = subprocess.run([*inside, "ip", *words], capture_output=True, text=True)
    if done.returncode:
        fail(11, f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def fail(code: int, msg: str) -> None:
    print(json.dumps({"cniVersion": "1.1.0", "code": code, "msg": msg}))
    sys.exit(1)


def host_end(container: str) -> str:
    return f"nvs{container.replace('-', '')[:11]}"


def exists(link: str) -> bool:
    return subprocess.run(["ip", "link", "show", link], capture_output=True).returncode == 0


class Leases:
    """Files named by address that hold their container's id, in a folder."""

    def __init__(self, conf: dict) -> None:
        self.folder, self.range = conf["dataDir"], ipaddress.ip_network(conf["subnet"])
        self.always_first = conf.get("flaw") == "same-address"
        os.makedirs(self.folder, exist_ok=True)
        self.lock = os.open(os.path.join(self.folder, "lock"), os.O_RDWR | os.O_CREAT)
        fcntl.flock(self.lock, fcntl.LOCK_EX)

    def held(self) -> dict:
        names = [name for name in os.listdir(self.folder) if name != "lock"]
        return {name: open(os.path.join(self.folder, name)).read() for name in names}

    def take(self, container: str) -> str:
        held = {} if self.always_first else self.held()
        free = next(str(one) for one in list(self.range.hosts())[1:] if str(one) not in held)
        with open(os.path.join(self.folder, free), "w") as file:
            file.write(container)
        return free

    def release(self, container: str) -> None:
        for name, holder in self.held().items():
            if holder == container:
                os.unlink(os.path.join(self.folder, name))


def add(conf: dict, env: dict) -> None:
    container, netns, ifname = env["CNI_CONTAINERID"], env["CNI_NETNS"], env["CNI_IFNAME"]
    if conf.get("flaw") == "hangs":
        subprocess.run(["sleep", "600"])
    address, host = Leases(conf).take(container), host_end(container)
    mac = "0a:58:" + ":".join(f"{part:02x}" for part in ipaddress.ip_address(address).packed)
    ip("link", "add", host, "type", "veth", "peer", "name", ifname, "address", mac, "netns", netns)
    ip("link", "set", host, "up")
    ip("link", "set", ifname, "up", netns=netns)
    ip("addr", "add", f"{address}/32", "dev", ifname, netns=netns)
    ip("route", "add", GATEWAY, "dev", ifname, netns=netns)
    if conf.get("flaw") != "no-route":
        ip("route", "add", "default", "via", GATEWAY, "dev", ifname, netns=netns)
    ip("addr", "add", f"{GATEWAY}/32", "dev", host, "scope", "link")
    ip("route", "replace", address, "dev", host)
    interfaces = [{"name": host}, {"name": ifname, "mac": mac, "sandbox": netns}]
    ips = [{"address": f"{address}/32", "gateway": GATEWAY, "interface": 1}]
    if conf.get("flaw") == "junk":
        print("attached, all is well")
    print(json.dumps({"cniVersion": conf["cniVersion"], "interfaces": interfaces, "ips": ips, "dns": {}}))


def delete(conf: dict, env: dict) -> None:
    container = env["CNI_CONTAINERID"]
    Leases(conf).release(container)
    if not exists(host_end(container)):
        return
    if conf.get("flaw") == "leaves-veth":
        # A pair goes with the namespace of either end: this one's other end is taken out of it first.
        here, spare = str(os.getpid()), host_end(container)[:10] + "x"
        ip("link", "set", env["CNI_IFNAME"], "netns", here, "name", spare, netns=env["CNI_NETNS"])
    else:
        ip("link", "del", host_end(container))


def check(conf: dict, env: dict) -> None:
    netns, ifname = env["CNI_NETNS"], env["CNI_IFNAME"]
    held = ip("-o", "addr", "show", "dev", ifname, netns=netns)
    for one in conf["prevResult"]["ips"]:
        if one["address"] not in held:
            fail(11, f"{ifname} has lost {one['address']}")


def collect(conf: dict) -> None:
    valid = {one["containerID"] for one in conf["cni.dev/valid-attachments"]}
    if conf.get("flaw") == "gc-does-nothing":
        return
    leases = Leases(conf)
    for holder in set(leases.held().values()) - valid:
        leases.release(holder)
        if exists(host_end(holder)):
            ip("link", "del", host_end(holder))


def main() -> None:
    env, conf = os.environ, json.load(sys.stdin)
    match env["CNI_COMMAND"]:
        case "VERSION":
            print(json.dumps({"cniVersion": "1.1.0", "supportedVersions": ["1.0.0", "1.1.0"]}))
        case "ADD":
            add(conf, env)
        case "DEL":
            delete(conf, env)
        case "CHECK":
            check(conf, env)
        case "STATUS":
            if not os.path.isdir("/proc/self"):
                fail(50, "there is no /proc")
        case "GC":
            collect(conf)
        case other:
            fail(4, f"no operation {other}")


main()
