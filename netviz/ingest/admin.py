"""The journal in the admin pages: read-only, searchable, filterable."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from django.contrib import admin
from django.http import HttpRequest

from netviz.core.state.door import UNREADABLE
from netviz.ingest.journal_record import unpack
from netviz.ingest.models import JournalEntry
from netviz.inventory.generic import ModelAdmin
from netviz.inventory.readable import size

SHOWN_CHARS = 20_000


def _plain(value: Any) -> Any:
    """Make what JSON cannot say: bytes are shown in hex."""
    return value.hex() if isinstance(value, bytes) else str(value)


@admin.register(JournalEntry)
class JournalEntryAdmin(ModelAdmin[JournalEntry]):
    """What changed, when, on which node."""

    list_display = ("received_at", "node", "kind", "summary", "seq", "bytes_text")
    list_filter = ("kind", "received_at", "node")
    search_fields = ("node", "summary")
    date_hierarchy = "received_at"
    fields = ("received_at", "node", "kind", "summary", "epoch", "seq", "bytes_text", "content")
    readonly_fields = fields
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> Any:
        """Leave the bodies out of the list."""
        return super().get_queryset(request).defer("body")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """The journal writes itself."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: JournalEntry | None = None) -> bool:
        """What happened stays."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: JournalEntry | None = None) -> bool:
        """Age and size end an entry, nobody's hand."""
        return False

    @admin.display(description="size", ordering="size")
    def bytes_text(self, entry: JournalEntry) -> str:
        """How large it is in the database."""
        return size(entry.size)

    @admin.display(description="content")
    def content(self, entry: JournalEntry) -> str:
        """The change itself, addresses in hex."""
        try:
            delta = unpack(bytes(entry.body))
        except UNREADABLE as err:
            return f"This entry cannot be read: {err}"
        plain = msgspec.to_builtins(delta, builtin_types=(bytes,))
        text = json.dumps(plain, default=_plain, indent=1)
        return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + " …"
