"""Frames: one message each, MessagePack, compressed when large, bounded in size.

A frame is one byte that names the encoding (0 plain, 1 zlib) and the message. All bounds are
checked before anything is built from the bytes, so a hostile frame costs little: a frame, a message,
and how much larger than its frame a message may be.
"""

from __future__ import annotations

import zlib
from typing import Annotated

import msgspec

from netviz.core.model.check import decoder_words
from netviz.core.model.netfilter import body_digest, encoded_digest
from netviz.core.state.door import REASON_CHARS, UNREADABLE, read_body, read_delta, sift, wrong_bodies
from netviz.core.wire.errors import LocalProtocolError, RemoteProtocolError
from netviz.core.wire.messages import MAX_DIGESTS, AnyMessage, Bodies, Delta, Message, SnapshotPart

MAX_FRAME_BYTES = 4 << 20
MAX_MESSAGE_BYTES = 32 << 20
COMPRESS_FROM_BYTES = 512
# A message over 1 MiB may be this many times as large as its frame, so that what is costly to read
# was costly to send.
MAX_INFLATION = 64
MIN_INFLATED_BYTES = 1 << 20
LARGE_FRAME_BYTES = 32 << 10


class _LooseDelta(Message, frozen=True, tag="delta"):
    epoch: int
    seq: int
    at_ns: int
    delta: msgspec.Raw


class _LoosePart(Message, frozen=True, tag="snap_part"):
    index: int
    delta: msgspec.Raw


class _LooseBodies(Message, frozen=True, tag="bodies"):
    bodies: Annotated[tuple[msgspec.Raw, ...], msgspec.Meta(max_length=MAX_DIGESTS)] = ()
    unknown: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=MAX_DIGESTS)] = ()


_encoder = msgspec.msgpack.Encoder()
_loose_decoder: msgspec.msgpack.Decoder[_LooseDelta | _LoosePart | _LooseBodies] = msgspec.msgpack.Decoder(
    _LooseDelta | _LoosePart | _LooseBodies
)
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


def encode_frame(message: AnyMessage) -> bytes:
    """Encode one message. Raises: LocalProtocolError (too_large)."""
    return make_frame(encode_message(message))


def encode_message(message: AnyMessage) -> bytes:
    """Encode one message without its frame: its length tells what it costs to read."""
    return _encoder.encode(message)


def make_frame(data: bytes) -> bytes:
    """Make a frame of an encoded message. Raises: LocalProtocolError (too_large)."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise LocalProtocolError("too_large", f"a message of {len(data)} bytes is over {MAX_MESSAGE_BYTES}")
    frame = b"\x00" + data if len(data) < COMPRESS_FROM_BYTES else b"\x01" + zlib.compress(data, 1)
    if frame[0] and len(data) > _max_inflated(len(frame)):
        # Huffman codes alone make it 8 times smaller at most.
        frame = b"\x01" + compress_little(data)
    if len(frame) > MAX_FRAME_BYTES:
        raise LocalProtocolError("too_large", f"a frame of {len(frame)} bytes is over {MAX_FRAME_BYTES}")
    return frame


def is_large(frame: bytes) -> bool:
    """Tell whether a frame may hold a message that takes long to read, before it is read."""
    return frame[:1] == b"\x01" or len(frame) >= LARGE_FRAME_BYTES


def decode_frame(frame: bytes) -> AnyMessage:
    """Decode one frame. Raises: RemoteProtocolError (bad_frame, too_large, bad_message)."""
    return decode_sized(frame)[0]


def decode_sized(frame: bytes) -> tuple[AnyMessage, int]:
    """Decode one frame; also tell how many bytes its message has. Raises: as `decode_frame`."""
    if len(frame) > MAX_FRAME_BYTES:
        raise RemoteProtocolError("too_large", f"a frame of {len(frame)} bytes is over {MAX_FRAME_BYTES}")
    if not frame or frame[0] > 1:
        raise RemoteProtocolError("bad_frame", "not a netviz frame")
    data = frame[1:]
    if frame[0] == 1:
        data = inflate(data, _max_inflated(len(frame)))
    try:
        return _read(data), len(data)
    except UNREADABLE as err:
        raise RemoteProtocolError("bad_message", f"cannot read the message: {decoder_words(err)}") from None


def _read(data: bytes) -> AnyMessage:
    """Decode a message, without records and bodies that break a bound. Raises: ValueError, RecursionError."""
    try:
        message = _decoder.decode(data)
    except UNREADABLE as err:
        return _read_loosely(data, err)
    if isinstance(message, Delta | SnapshotPart):
        delta = sift(message.delta)
        return message if delta is message.delta else msgspec.structs.replace(message, delta=delta)
    if isinstance(message, Bodies):
        wrong = {id(body): reason for body, reason in wrong_bodies(message.bodies)}
        right = tuple(body for body in message.bodies if id(body) not in wrong)
        refused = tuple((body_digest(one), wrong[id(one)]) for one in message.bodies if id(one) in wrong)
        return Bodies(right, message.unknown, refused)
    return message


def _read_loosely(data: bytes, err: Exception) -> AnyMessage:
    """Read what can be read of a message that cannot be read whole; other messages fail with `err`."""
    try:
        loose = _loose_decoder.decode(data)
    except UNREADABLE:
        raise err from None
    if isinstance(loose, _LooseDelta):
        return Delta(loose.epoch, loose.seq, loose.at_ns, read_delta(loose.delta))
    if isinstance(loose, _LoosePart):
        return SnapshotPart(loose.index, read_delta(loose.delta))
    right, refused = [], []
    for raw in loose.bodies:
        try:
            right.append(read_body(raw))
        except UNREADABLE as problem:
            refused.append((encoded_digest(memoryview(raw)), decoder_words(problem)[:REASON_CHARS]))
    return Bodies(tuple(right), loose.unknown, tuple(refused))


def inflate(data: bytes | memoryview, limit: int) -> bytes:
    """Inflate one zlib stream to at most `limit` bytes. Raises: RemoteProtocolError (bad_frame, too_large)."""
    inflater = zlib.decompressobj()
    try:
        out = inflater.decompress(data, limit)
    except zlib.error:
        raise RemoteProtocolError("bad_frame", "cannot inflate it") from None
    if inflater.unconsumed_tail:
        raise RemoteProtocolError("too_large", f"it inflates to over {limit} bytes")
    if not inflater.eof or inflater.unused_data:
        raise RemoteProtocolError("bad_frame", "it is truncated or has a tail")
    return out


def _max_inflated(frame_bytes: int) -> int:
    return min(MAX_MESSAGE_BYTES, max(MIN_INFLATED_BYTES, MAX_INFLATION * frame_bytes))


def compress_little(data: bytes) -> bytes:
    """Compress at most 8 times, whatever the data: to keep within a bound on inflation."""
    compressor = zlib.compressobj(1, strategy=zlib.Z_HUFFMAN_ONLY)
    return compressor.compress(data) + compressor.flush()
