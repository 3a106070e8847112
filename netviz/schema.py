"""The database's schema, brought up to date by whichever command comes first."""

from __future__ import annotations

from collections.abc import Callable

from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor


def bring_up_to_date(say: Callable[[str], object]) -> None:
    """Apply the migrations that are due, and say so. Raises: CommandError in one sentence."""
    try:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if executor.recorder.has_table():
            # It changes nothing, but a database that cannot be written says so.
            executor.recorder.migration_qs.filter(app="").update(name="")
    except DatabaseError as err:
        raise CommandError(f"cannot use the database: {err}") from None
    if plan:
        say(f"Bringing the database up to date ({len(plan)} migrations) ...")
        call_command("migrate", interactive=False, verbosity=0)
