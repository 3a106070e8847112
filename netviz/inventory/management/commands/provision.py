"""`./manage.py provision`: a login with a role and an API token, and tokens for nodes' collectors and the API's watcher.

What a script needs to set a new server up, in one call and one JSON object. Secrets are shown once.
"""

from __future__ import annotations

import json
import secrets
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from netviz.inventory.access import ADMINISTRATOR, ROLES
from netviz.inventory.models import valid_node_name
from netviz.inventory.service import enrol, enrol_watcher, make_api_token
from netviz.private import secret_output
from netviz.schema import bring_up_to_date


class Command(BaseCommand):
    """Make a user, and enrol collectors."""

    help = "Make a login (with a password unless given, and an API token) and enrol collectors; prints JSON"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --user, --password, --role, --out, --watcher and NODE."""
        parser.add_argument("--user", required=True, help="login name; must be new")
        parser.add_argument("--password", help="generated if left out")
        parser.add_argument("--role", choices=ROLES, default=ADMINISTRATOR, help="default: %(default)s")
        parser.add_argument(
            "--out", metavar="FILE", help="write the JSON to this file, which only you can read"
        )
        parser.add_argument(
            "--watcher", action="store_true", help="enrol and approve the watcher of the cluster's API too"
        )
        parser.add_argument("nodes", nargs="*", metavar="NODE", help="enrol and approve a collector for each")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make everything or nothing."""
        try:
            for node in options["nodes"]:
                valid_node_name(node)
        except ValidationError as err:
            raise CommandError(err.message) from None
        bring_up_to_date(self.stderr.write)
        try:
            with secret_output(options["out"], self.stdout.write) as write:
                write(json.dumps(self._make(options)))
        except OSError as err:
            raise CommandError(f"cannot write the file: {err}") from None

    @transaction.atomic
    def _make(self, options: dict[str, Any]) -> dict[str, Any]:
        users = get_user_model().objects
        name, role = options["user"], options["role"]
        if users.filter(username=name).exists():
            raise CommandError(
                f"there is a user {name!r} already; its password can be set with changepassword"
            )
        password = options["password"] or secrets.token_hex(8)
        user = users.create_user(name, password=password, is_staff=role == ADMINISTRATOR)
        user.is_superuser = role == ADMINISTRATOR
        user.save(update_fields=["is_superuser"])
        user.groups.add(Group.objects.get(name=role))
        _, token = make_api_token(user, "provisioned")
        collectors = {node: enrol(node, approve=True)[1] for node in options["nodes"]}
        made = {"user": name, "password": password, "role": role, "token": token, "collectors": collectors}
        return {**made, "watcher": enrol_watcher(approve=True)[1]} if options["watcher"] else made
