"""The journal in the admin pages: read-only, searchable, filterable."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html

from netviz.core.model.addr import format_ip, format_mac
from netviz.core.state.door import UNREADABLE
from netviz.ingest.journal_record import unpack
from netviz.ingest.models import JournalEntry
from netviz.inventory.generic import ModelAdmin
from netviz.inventory.readable import size

SHOWN_CHARS = 20_000


def _said(value: Any) -> Any:
    """Leave out what isn't said (null, nothing of a list), and write bytes as text."""
    if isinstance(value, bytes):
        return _bytes_text(value)
    if isinstance(value, dict):
        said = {_said(name): _said(one) for name, one in value.items()}
        return {name: one for name, one in said.items() if one not in (None, "", [], {})}
    return [_said(one) for one in value] if isinstance(value, list | tuple) else value


def _bytes_text(value: bytes) -> str:
    """An address as people write it, by its length; anything else in hex."""
    if len(value) in (4, 16):
        return format_ip(value)
    return format_mac(value) if len(value) == 6 else value.hex()


@admin.register(JournalEntry)
class JournalEntryAdmin(ModelAdmin[JournalEntry]):
    """What changed, when, on which node."""

    list_display = ("when", "node", "kind", "summary", "bytes_text")
    list_display_links = ("when", "summary")
    list_filter = ("kind", "received_at", "node")
    search_fields = ("node", "summary")
    search_help_text = "Node, or what changed: routes, links, nft…"
    date_hierarchy = "received_at"
    fields = ("when", "node", "kind", "summary", "epoch", "seq", "bytes_text", "content")
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

    @admin.display(description="when", ordering="received_at")
    def when(self, entry: JournalEntry) -> str:
        """When it came, to the second."""
        return f"{timezone.localtime(entry.received_at):%Y-%m-%d %H:%M:%S}"

    @admin.display(description="size", ordering="size")
    def bytes_text(self, entry: JournalEntry) -> str:
        """How large it is in the database."""
        return size(entry.size)

    @admin.display(description="content")
    def content(self, entry: JournalEntry) -> str:
        """The change itself: only what is said, addresses as people write them."""
        try:
            delta = unpack(bytes(entry.body))
        except UNREADABLE as err:
            return f"This entry cannot be read: {err}"
        plain = _said(msgspec.to_builtins(delta, builtin_types=(bytes,)))
        text = json.dumps(plain, default=str, indent=1)
        if len(text) > SHOWN_CHARS:
            text = f"{text[:SHOWN_CHARS]}\n… {len(text) - SHOWN_CHARS} more characters"
        return format_html('<pre class="content" tabindex="0">{}</pre>', text)
