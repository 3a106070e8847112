"""nfnetlink_acct messages: accounting objects, which rules count by and may have a quota of.

Source: include/uapi/linux/netfilter/nfnetlink_acct.h; net/netfilter/nfnetlink_acct.c,
nfnl_acct_fill_info (Linux 6.18).
"""

from __future__ import annotations

import socket

from agents.netlink.nfnetlink import NFGENMSG_LEN, nfgenmsg, number, stream_dump
from agents.netlink.wire import attrs, text
from netviz.core.model.netfilter import NfAcct

NFNL_SUBSYS_ACCT = 7
NFNL_MSG_ACCT_NEW, NFNL_MSG_ACCT_GET = NFNL_SUBSYS_ACCT << 8, NFNL_SUBSYS_ACCT << 8 | 1
NFACCT_NAME, NFACCT_PKTS, NFACCT_BYTES, NFACCT_USE, NFACCT_FLAGS, NFACCT_QUOTA = range(1, 7)


def read_accounts(sock: socket.socket) -> list[NfAcct]:
    """Dump all objects of the socket's namespace; none where the kernel has no such thing. Raises: OSError."""
    return [parse_account(body) for body in stream_dump(sock, NFNL_MSG_ACCT_GET, nfgenmsg())]


def parse_account(body: bytes) -> NfAcct:
    """Read one object. Raises: BadMessage."""
    found = attrs(body, NFGENMSG_LEN)
    return NfAcct(text(found[NFACCT_NAME]), number(found.get(NFACCT_FLAGS)), number(found.get(NFACCT_QUOTA)))
