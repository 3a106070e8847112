"""Secrets that programs authenticate with: made here, shown once, kept as a hash.

A token is 32 random bytes, so a plain SHA-256 is enough to keep it by: there is nothing to guess.
The prefix says what a token is for when one turns up in a log or a repository.
"""

from __future__ import annotations

import hashlib
import secrets

COLLECTOR_PREFIX = "nvc_"
API_PREFIX = "nva_"


def new_token(prefix: str) -> str:
    """Make a token."""
    return prefix + secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """Hash a token as the database keeps it."""
    return hashlib.sha256(token.encode()).hexdigest()


def bearer_token(header: str) -> str | None:
    """Take the token out of an Authorization header, None when it isn't a Bearer's."""
    scheme, _, token = header.partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
