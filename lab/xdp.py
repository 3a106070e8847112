"""The smallest XDP program: it drops every packet, as one that somebody left behind may do.

Source: include/uapi/linux/bpf.h (Linux 6.18): bpf(2) BPF_PROG_LOAD, struct bpf_insn, XDP_DROP.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

from lab.spec import LabError

_SYS_BPF = {"x86_64": 321, "aarch64": 280}
_BPF_PROG_LOAD = 5
_BPF_PROG_TYPE_XDP = 6
_XDP_DROP = 1
# r0 = XDP_DROP; exit
_INSTRUCTIONS = struct.pack("=BBhi", 0xB7, 0, 0, _XDP_DROP) + struct.pack("=BBhi", 0x95, 0, 0, 0)


def load_dropper() -> int:
    """Load the program and return its descriptor; it lives as long as that, or as a link has it. Raises: LabError."""
    number = _SYS_BPF.get(platform.machine())
    if number is None:
        raise LabError(f"no XDP programs on {platform.machine()}")
    code = ctypes.create_string_buffer(_INSTRUCTIONS)
    licence = ctypes.create_string_buffer(b"GPL")
    attr = struct.pack(
        "=IIQQIIQII",
        _BPF_PROG_TYPE_XDP,
        len(_INSTRUCTIONS) // 8,
        ctypes.addressof(code),
        ctypes.addressof(licence),
        *(0, 0, 0, 0, 0),
    )
    buffer = ctypes.create_string_buffer(attr)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.syscall(number, _BPF_PROG_LOAD, buffer, len(attr)))
    if fd < 0:
        raise LabError(
            f"this system lets nobody here load an XDP program ({os.strerror(ctypes.get_errno())})"
        )
    return fd
