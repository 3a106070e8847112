"""Frames: one message each, MessagePack, compressed when large, bounded in size.

A frame is one byte that names the encoding (0 plain, 1 zlib) and the message. All bounds are
checked before anything is built from the bytes, so a hostile frame costs little: a frame, a message,
and how much larger than its frame a message may be.
"""

from __future__ import annotations

import zlib

import msgspec

from netviz.core.wire.errors import UNREADABLE, LocalProtocolError, RemoteProtocolError
from netviz.core.wire.messages import AnyMessage

MAX_FRAME_BYTES = 4 << 20
MAX_MESSAGE_BYTES = 32 << 20
COMPRESS_FROM_BYTES = 512
# A message over 1 MiB may be this many times as large as its frame, so that what is costly to read
# was costly to send.
MAX_INFLATION = 64
MIN_INFLATED_BYTES = 1 << 20
LARGE_FRAME_BYTES = 32 << 10

_encoder = msgspec.msgpack.Encoder()
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
        frame = b"\x01" + _compress_little(data)
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
        data = _inflate(data)
    try:
        return _decoder.decode(data), len(data)
    except UNREADABLE as err:
        raise RemoteProtocolError("bad_message", f"cannot read the message: {err}") from None


def _max_inflated(frame_bytes: int) -> int:
    return min(MAX_MESSAGE_BYTES, max(MIN_INFLATED_BYTES, MAX_INFLATION * frame_bytes))


def _compress_little(data: bytes) -> bytes:
    compressor = zlib.compressobj(1, strategy=zlib.Z_HUFFMAN_ONLY)
    return compressor.compress(data) + compressor.flush()


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    limit = _max_inflated(len(data) + 1)
    try:
        out = inflater.decompress(data, limit)
    except zlib.error:
        raise RemoteProtocolError("bad_frame", "cannot inflate the frame") from None
    if inflater.unconsumed_tail:
        raise RemoteProtocolError("too_large", f"the message inflates to over {limit} bytes")
    if not inflater.eof or inflater.unused_data:
        raise RemoteProtocolError("bad_frame", "the frame is truncated or has a tail")
    return out
