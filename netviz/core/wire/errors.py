"""Who broke the protocol."""

from __future__ import annotations


class ProtocolError(Exception):
    """The session's rules were broken; `code` is stable and short, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class LocalProtocolError(ProtocolError):
    """This side tried to do what the session's state doesn't allow. A bug here."""


class RemoteProtocolError(ProtocolError):
    """The other side sent what it may not send. The connection is to be closed."""
