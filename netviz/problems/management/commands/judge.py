"""`./manage.py judge`: the checking process. The server starts it; nobody else has to."""

from __future__ import annotations

import os
import signal
import socket
import threading
from argparse import SUPPRESS, ArgumentParser
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from netviz.garbage import garbage
from netviz.ingest.live_store import get_store, set_store
from netviz.ingest.memory_store import MemoryStore
from netviz.problems.checks import make_judge
from netviz.problems.following import Follower
from netviz.problems.judging import Judging
from netviz.problems.pipe import Closed, Pipe

# Pages and collectors come first.
NICE = 5
# What takes longer at the end isn't waited for.
END_S = 3.0


class Command(BaseCommand):
    """Judge the live state that a server tells of, or that Redis holds, until the server ends."""

    help = "The checking process: the server starts it"
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --fd and --me."""
        parser.add_argument("--fd", type=int, required=True, help=SUPPRESS)
        parser.add_argument("--me", required=True, help=SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        """Judge until the server's end of the pipe is closed."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server gets it too, and then ends this process
        os.nice(NICE)
        garbage.start()
        make = partial(make_judge, Random())
        pipe = Pipe(socket.socket(fileno=options["fd"]))
        if settings.REDIS_URL:
            judging = Judging(get_store, make, options["me"])
            threading.Thread(target=_await_end, args=(pipe, judging), daemon=True).start()
            judging.told()
        else:
            store = MemoryStore()
            set_store(store)
            judging = Judging(get_store, make, options["me"])
            Follower(store, pipe, judging.told, lambda: _end(judging))
        judging.run()


def _await_end(pipe: Pipe, judging: Judging) -> None:
    """With Redis the server says nothing, and closes the pipe when it ends."""
    with suppress(Closed):
        pipe.from_server()
    _end(judging)


def _end(judging: Judging) -> None:
    judging.stop()
    late = threading.Timer(END_S, os._exit, (0,))
    late.daemon = True
    late.start()
