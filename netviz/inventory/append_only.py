"""Database triggers that let a table only be added to, on SQLite and PostgreSQL.

On SQLite, REPLACE takes the row that is in its way out without a DELETE trigger, so an INSERT must
find no row of its number. A migration that makes the table anew (SQLite does for most changes) drops
its triggers and has to `install` them again.
"""

from __future__ import annotations

from typing import Any

_SQLITE = {
    "update": "BEFORE UPDATE ON {table}",
    "delete": "BEFORE DELETE ON {table}",
    "insert": "BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id)",
}


def install(schema_editor: Any, table: str) -> None:
    """Protect the table."""
    message = f"{table} can only be added to"
    if schema_editor.connection.vendor == "sqlite":
        for name, when in _SQLITE.items():
            schema_editor.execute(
                f"CREATE TRIGGER {table}_no_{name} {when.format(table=table)} "
                f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
            )
        return
    schema_editor.execute(
        f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{message}'; END $$"
    )
    schema_editor.execute(
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_refuse()"
    )
    schema_editor.execute(
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse()"
    )


def remove(schema_editor: Any, table: str) -> None:
    """Take the protection away."""
    if schema_editor.connection.vendor == "sqlite":
        for name in _SQLITE:
            schema_editor.execute(f"DROP TRIGGER {table}_no_{name}")
        return
    schema_editor.execute(f"DROP FUNCTION {table}_refuse() CASCADE")
