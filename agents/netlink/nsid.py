"""Ask a namespace by which number it knows another: RTM_GETNSID.

Source: include/uapi/linux/net_namespace.h; net/core/net_namespace.c rtnl_net_getid (Linux 6.18).
"""

from __future__ import annotations

import socket
import struct

from agents.netlink.wire import attr, attrs, request, s32

RTM_NEWNSID, RTM_DELNSID, RTM_GETNSID = 88, 89, 90
_RTGENMSG = b"\0\0\0\0"
_NSID, _FD, _TARGET_NSID = 1, 3, 4
NOT_ASSIGNED = -1


def get_nsid(sock: socket.socket, netns_fd: int) -> int | None:
    """Return the nsid that the socket's namespace gives to `netns_fd`'s, None for none. Raises: OSError."""
    reply = request(sock, RTM_GETNSID, _RTGENMSG + attr(_FD, struct.pack("=I", netns_fd)))
    nsid = s32(attrs(reply.body, 4).get(_NSID), NOT_ASSIGNED)
    return None if nsid < 0 else nsid


def translate_nsid(sock: socket.socket, nsid: int, target_nsid: int) -> int | None:
    """Return the nsid that `target_nsid` gives to `nsid` (both as the socket's namespace numbers them).

    Raises: OSError.
    """
    body = (
        _RTGENMSG + attr(_NSID, struct.pack("=i", nsid)) + attr(_TARGET_NSID, struct.pack("=i", target_nsid))
    )
    found = s32(attrs(request(sock, RTM_GETNSID, body).body, 4).get(_NSID), NOT_ASSIGNED)
    return None if found < 0 else found
