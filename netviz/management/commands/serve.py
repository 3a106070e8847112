"""`./manage.py serve`: the whole server in one process."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from argparse import ArgumentParser
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from netviz.protocols import SERVER_OPTIONS
from netviz.schema import bring_up_to_date


def is_loopback(host: str) -> bool:
    """Tell whether an address to listen on is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_of(descriptor: int) -> str:
    """Say on which address an inherited socket listens. Raises: CommandError when it is no TCP socket."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as listening:
            host, *_ = listening.getsockname()
    except (OSError, ValueError) as err:
        raise CommandError(f"--fd {descriptor}: not a TCP socket ({err})") from None
    return str(host)


class Command(BaseCommand):
    """Run netviz: pages, sockets, live state and, without Redis, the Celery worker."""

    help = "Run the server: pages, browsers' and collectors' sockets, and the task worker"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --host, --port, --fd and --insecure-http."""
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: %(default)s)")
        parser.add_argument("--fd", type=int, help="serve this inherited listening socket as well")
        parser.add_argument(
            "--insecure-http",
            action="store_true",
            help="listen on other addresses than loopback without TLS in front (NETVIZ_HTTPS=1)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Bring the database up to date and serve until SIGINT or SIGTERM."""
        if settings.VAR_PROBLEM and settings.NEEDS_VAR:
            raise CommandError(f"cannot use NETVIZ_VAR_DIR: {settings.VAR_PROBLEM}")
        if settings.REDIS_URL and not settings.SECRET_KEY_GIVEN:
            raise CommandError(
                "with NETVIZ_REDIS_URL, set NETVIZ_SECRET_KEY too: all server processes need the same one"
            )
        hosts = [options["host"], *([] if options["fd"] is None else [host_of(options["fd"])])]
        exposed = next((host for host in hosts if not is_loopback(host)), None)
        if exposed is not None and not (settings.HTTPS or options["insecure_http"]):
            raise CommandError(
                f"on {exposed or 'every address'}, passwords and tokens would cross the network unencrypted: "
                "put TLS in front and set NETVIZ_HTTPS=1 (docs/running.md), or say --insecure-http"
            )
        bring_up_to_date(self.stdout.write)
        connection.close()
        config = uvicorn.Config(
            "netviz.asgi:application",
            host=options["host"],
            port=options["port"],
            loop="asyncio",
            lifespan="on",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=5,
            **SERVER_OPTIONS,
        )
        server = uvicorn.Server(config)
        sockets = None
        if options["fd"] is not None:
            sockets = [config.bind_socket(), socket.socket(fileno=options["fd"])]
        host = f"[{options['host']}]" if ":" in options["host"] else options["host"]
        self.stdout.write(f"netviz on http://{host}:{options['port']} (Ctrl-C ends it)")
        with contextlib.suppress(KeyboardInterrupt):  # raised again after an orderly end
            server.run(sockets)
        if not server.started:
            raise CommandError(f"cannot serve on {options['host']}:{options['port']}; the log above says why")
