"""What netviz needs besides itself: the database, and Redis where it is set. Which errors say that one is away."""

from __future__ import annotations

from django.db import InterfaceError, OperationalError
from kombu.exceptions import OperationalError as QueueError
from redis.exceptions import RedisError

# Gone, locked, full or read-only: it may work again in a while, and nothing is wrong with the request.
DATABASE_AWAY = (OperationalError, InterfaceError)
REDIS_AWAY = (RedisError, QueueError)
AWAY = (*DATABASE_AWAY, *REDIS_AWAY)
