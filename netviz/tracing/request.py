"""What `POST /api/traces` takes, checked before anything is queued."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from netviz.core.model.check import decoder_words

Port = Annotated[int, Meta(ge=0, le=65535)]
Name = Annotated[str, Meta(min_length=1, max_length=300)]


class TraceRequest(msgspec.Struct, rename={"source": "from", "target": "to", "length": "len"}):
    """A flow to trace, in the words of the command line. `length` is of the whole IP packet, in bytes."""

    source: Name
    target: Name
    proto: Literal["tcp", "udp", "icmp", "auto"] = "tcp"
    sport: Port | None = None
    dport: Port | None = None
    length: Annotated[int, Meta(ge=20, le=65535)] | None = None
    df: bool = False
    mode: Literal["predict", "observe", "both"] = "predict"


class BadRequest(ValueError):
    """The request cannot be served; the message is one sentence for people."""


_decoder = msgspec.json.Decoder(TraceRequest)


def parse_request(body: bytes) -> TraceRequest:
    """Read a posted request. Raises: BadRequest."""
    try:
        request = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise BadRequest(f"the request cannot be read: {decoder_words(err)}") from None
    if request.mode != "predict":
        raise BadRequest(
            f'mode "{request.mode}" is not available in this version, which predicts only; send mode "predict"'
        )
    return request


def as_posted(request: TraceRequest, body: bytes) -> dict[str, object]:
    """What of a posted request counts: the known fields that were in it, under their posted names."""
    given = msgspec.json.decode(body)
    return {name: value for name, value in msgspec.to_builtins(request).items() if name in given}
