"""What `POST /api/observations` takes, checked before anything is queued."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from netviz.core.model.addr import format_ip
from netviz.core.model.check import decoder_words
from netviz.core.sim.packet import IPPROTO_TCP, IPPROTO_UDP
from netviz.core.sim.trace import Flow
from netviz.tracing.request import BadRequest, TraceRequest

MOST_PROBES = 10


class ObserveRequest(TraceRequest):
    """A probe to send, in the words of a trace, `count` times one after the other. `auto` never chooses UDP: an application may
    take it for its own.
    """

    mode: Literal["observe"] = "observe"
    count: Annotated[int, msgspec.Meta(ge=1, le=MOST_PROBES)] = 1


_decoder = msgspec.json.Decoder(ObserveRequest)


def parse_request(body: bytes) -> ObserveRequest:
    """Read a posted request. Raises: BadRequest."""
    try:
        request = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise BadRequest(f"the request cannot be read: {decoder_words(err)}") from None
    if request.proto == "tcp" and request.length is not None:
        raise BadRequest("a SYN's size is the kernel's: len goes with udp and icmp")
    return request


def check_flow(request: ObserveRequest, flow: Flow) -> None:
    """Refuse what only the resolved flow shows. Raises: BadRequest."""
    if flow.by is not None:
        raise BadRequest(
            f"{format_ip(flow.src)} is outside of the cluster: no collector can send a probe from there"
        )
    if request.proto == "auto" and flow.proto == IPPROTO_UDP:
        raise BadRequest(
            "the target listens to UDP alone, and an application may take a probe for its own: "
            'say proto "udp" to send one, or "icmp"'
        )
    if flow.proto == IPPROTO_TCP and request.length is not None:
        raise BadRequest("a SYN's size is the kernel's: len goes with udp and icmp")
