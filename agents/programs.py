"""BPF programs at links: XDP and tc's filters as netlink tells, tcx and netkit as bpf(2) does; names and tags by bpf(2).

Nothing of tcx shows in netlink: a link that has such programs looks plain there. Who may not ask, or asks a kernel that
doesn't answer, reads none (None), which is not the same as finding none.

Source: include/uapi/linux/bpf.h (union bpf_attr, enum bpf_attach_type, struct bpf_prog_info); kernel/bpf/syscall.c,
bpf_prog_query; net/sched/cls_api.c, tc_dump_tfilter; cls_bpf.c, cls_bpf_dump (Linux 6.18).
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterable

import msgspec

from agents.kernel import Kernel
from agents.netlink.qdisc import TCMSG
from agents.netlink.wire import attrs, dump, text, u32
from netviz.core.model.link import Link, Program

BPF_PROG_GET_FD_BY_ID, BPF_OBJ_GET_INFO_BY_FD, BPF_PROG_QUERY = 13, 15, 16
TCX = {"tcx/ingress": 46, "tcx/egress": 47}
NETKIT = {"netkit/primary": 54, "netkit/peer": 55}
MAX_PROGRAMS = 64  # BPF_MPROG_MAX
RTM_NEWTFILTER, RTM_GETTFILTER = 44, 46
CLSACT = {"tc/ingress": 0xFFFFFFF2, "tc/egress": 0xFFFFFFF3}
INGRESS = {"tc/ingress": 0xFFFF0000}
_KIND, _OPTIONS = 1, 2
_BPF_NAME, _BPF_TAG, _BPF_ID = 7, 10, 11
_QUERY = struct.Struct(
    "=IIIIQI4x"
)  # target_ifindex, attach_type, query_flags, attach_flags, prog_ids, prog_cnt
_QUERY_BYTES, _INFO_BYTES, _ID_BYTES = 72, 232, 16
_INFO_TAG, _INFO_NAME = slice(8, 16), slice(64, 80)


def with_programs(kernel: Kernel, sock: socket.socket, links: Iterable[Link]) -> list[Link]:
    """Add the programs at the links of the thread's namespace; all or none of a link's are known."""
    found = []
    for link in links:
        asked = queried(kernel, link)
        if asked is None:
            found.append(msgspec.structs.replace(link, programs=None))
            continue
        xdp = tuple(_named(kernel, one) for one in link.programs or ())
        try:
            filters = _filters(sock, link) if link.tc else []
        except OSError:
            found.append(msgspec.structs.replace(link, programs=None))
            continue
        found.append(msgspec.structs.replace(link, programs=(*xdp, *asked, *filters)))
    return found


def queried(kernel: Kernel, link: Link) -> tuple[Program, ...] | None:
    """Ask for the tcx programs at a link, and a netkit pair's; None where that isn't allowed, or the link is gone."""
    hooks = TCX | NETKIT if link.kind == "netkit" else TCX
    found: list[Program] = []
    for hook, attach_type in hooks.items():
        try:
            numbers = _query(kernel, link.ifindex, attach_type)
        except OSError as err:
            if err.errno == errno.EINVAL:
                continue  # the kernel has no such hook
            if err.errno == errno.EACCES and hook in NETKIT:
                continue  # the pair is managed from its other end
            return None
        found += [_named(kernel, Program(hook, number)) for number in numbers]
    return tuple(found)


def _query(kernel: Kernel, ifindex: int, attach_type: int) -> list[int]:
    numbers = (ctypes.c_uint32 * MAX_PROGRAMS)()
    query = _QUERY.pack(ifindex, attach_type, 0, 0, ctypes.addressof(numbers), MAX_PROGRAMS)
    attr = bytearray(query.ljust(_QUERY_BYTES, b"\0"))
    kernel.ask_bpf(BPF_PROG_QUERY, attr)
    return list(numbers[: _QUERY.unpack_from(attr)[5]])


def _named(kernel: Kernel, program: Program) -> Program:
    """Add a program's name and tag, where one may ask for them."""
    if not program.id or program.tag:
        return program
    try:
        fd = kernel.ask_bpf(
            BPF_PROG_GET_FD_BY_ID, bytearray(struct.pack("=I", program.id).ljust(_ID_BYTES, b"\0"))
        )
    except OSError:
        return program
    try:
        info = (ctypes.c_char * _INFO_BYTES)()
        attr = struct.pack("=IIQ", fd, _INFO_BYTES, ctypes.addressof(info))
        kernel.ask_bpf(BPF_OBJ_GET_INFO_BY_FD, bytearray(attr))
    except OSError:
        return program
    finally:
        os.close(fd)
    name = info.raw[_INFO_NAME].partition(b"\0")[0].decode("ascii", "replace")
    return msgspec.structs.replace(program, name=name, tag=info.raw[_INFO_TAG])


def _filters(sock: socket.socket, link: Link) -> list[Program]:
    """List a link's tc filters: BPF programs by name, others by their kind."""
    found: list[Program] = []
    for hook, parent in (CLSACT if "clsact" in link.tc else INGRESS).items():
        messages = dump(sock, RTM_GETTFILTER, TCMSG.pack(0, link.ifindex, 0, parent, 0))
        for message in messages:
            shown = attrs(message.body, TCMSG.size)
            kind, options = text(shown.get(_KIND)), shown.get(_OPTIONS)
            if message.type != RTM_NEWTFILTER or options is None:
                continue  # a chain's head has no options
            one = Program(hook, name=kind)
            if kind == "bpf":
                a = attrs(options)
                one = Program(hook, u32(a.get(_BPF_ID)), text(a.get(_BPF_NAME)), a.get(_BPF_TAG, b""))
            if one not in found:
                found.append(one)
    return found
