"""The audit in the admin pages: to read, to search, to filter and to export; for administrators."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from netviz.inventory.access import ADMINISTRATOR, may
from netviz.inventory.generic import ModelAdmin
from netviz.inventory.models import AuditEntry

MAX_EXPORT = 100_000
COLUMNS = ("at", "actor", "via", "address", "action", "target", "detail")


def as_json_lines(entries: Iterable[AuditEntry]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(entry.as_json()) + "\n" for entry in entries)


def _cell(value: Any) -> str:
    """A spreadsheet takes what begins like a formula for one, and some of it was typed by strangers."""
    text = value if isinstance(value, str) else json.dumps(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def as_csv(entries: Iterable[AuditEntry]) -> str:
    """A table with a head."""
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(COLUMNS)
    for entry in entries:
        values = entry.as_json()
        table.writerow([_cell(values[column]) for column in COLUMNS])
    return out.getvalue()


FORMS = {"csv": (as_csv, "text/csv"), "jsonl": (as_json_lines, "application/jsonl")}


@admin.register(AuditEntry)
class AuditEntryAdmin(ModelAdmin[AuditEntry]):
    """Who did what, when, from where."""

    list_display = ("at", "actor", "via", "address", "action", "target")
    list_filter = ("action", "via", "at", "actor")
    search_fields = ("actor", "address", "action", "target")
    search_help_text = "Actor, address, action or target"
    date_hierarchy = "at"
    list_per_page = 100
    show_full_result_count = False
    readonly_fields = fields = COLUMNS

    def get_urls(self) -> list[URLPattern]:
        """Add the export."""
        export = path(
            "export/<str:form>", self.admin_site.admin_view(self.export), name="inventory_auditentry_export"
        )
        return [export, *super().get_urls()]

    def export(self, request: HttpRequest, form: str) -> HttpResponse:
        """Answer with what the list shows for the same search and filters, newest first."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if form not in FORMS:
            raise Http404
        write, content_type = FORMS[form]
        entries = self.get_changelist_instance(request).get_queryset(request)[: MAX_EXPORT + 1]
        found = list(entries)
        if len(found) > MAX_EXPORT:
            self.message_user(
                request,
                f"These are more than {MAX_EXPORT} entries: filter further, or use ./manage.py audit",
                messages.ERROR,
            )
            page = reverse("admin:inventory_auditentry_changelist")
            return HttpResponseRedirect(f"{page}?{request.GET.urlencode()}")
        answer = HttpResponse(write(found), content_type=f"{content_type}; charset=utf-8")
        answer["Content-Disposition"] = f'attachment; filename="netviz-audit.{form}"'
        answer["Cache-Control"] = "no-store"
        return answer

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Administrators only."""
        return may(request.user, ADMINISTRATOR)

    def has_view_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        """Administrators only."""
        return may(request.user, ADMINISTRATOR)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """It writes itself."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        """What happened stays."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        """What happened stays."""
        return False
