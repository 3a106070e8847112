"""What commands that work on state files have in common: one line of complaint, no checks, no database, no abbreviations."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from django.core.management.base import BaseCommand, CommandParser

from netviz.core.plain import plain

BAD_INPUT = 2


class OfflineCommand(BaseCommand):
    """A command whose complaints are one line that begins with its `name`."""

    name: ClassVar[str]
    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Make a parser whose complaints are one line, and which takes no abbreviations."""
        parser = super().create_parser(prog_name, subcommand, allow_abbrev=False, **kwargs)
        parser.error = self.fail  # type: ignore[method-assign]
        return parser

    @staticmethod
    def add_state_files(parser: CommandParser) -> None:
        """Declare --state, for each node one, and --objects."""
        parser.add_argument(
            "--state", action="append", required=True, metavar="FILE.nvz", help="one for each node"
        )
        OfflineCommand.add_objects(parser)

    @staticmethod
    def add_objects(parser: CommandParser) -> None:
        """Declare --objects."""
        parser.add_argument(
            "--objects", metavar="DIR", help="the Kubernetes API's lists, as *.json or *.json.gz"
        )

    def fail(self, message: str) -> NoReturn:
        """Complain in one line and exit with status 2."""
        self.stderr.write(plain(f"{self.name}: {' '.join(str(message).split())}"))
        raise SystemExit(BAD_INPUT)
