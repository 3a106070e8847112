"""Celery's way to Redis, whose losses a worker outlives.

kombu's channel asks its connection for its address when it needs a new socket. Of a connection that has
been lost and is being let go there is none any more, and the AttributeError which that gives ends the
worker: it is no connection's error, which Celery would answer by connecting again. Here it is one.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis as kombu_redis
from redis.exceptions import ConnectionError as ConnectionLost


class Channel(kombu_redis.Channel):
    """A channel that says of a lost connection that it is lost."""

    def _connparams(self, *args: Any, **kwargs: Any) -> Any:
        if self.connection is None or self.connection.client is None:
            raise ConnectionLost("the connection to Redis is lost")
        return super()._connparams(*args, **kwargs)  # type: ignore[misc]  # not in kombu's annotations


class Transport(kombu_redis.Transport):
    """kombu's transport with these channels."""

    Channel = Channel
