"""The trace history for administrators: to read, to search, to delete."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from netviz.inventory import audit
from netviz.inventory.access import ADMINISTRATOR, may
from netviz.inventory.generic import ModelAdmin
from netviz.tracing.models import TraceRun


@admin.register(TraceRun)
class TraceRunAdmin(ModelAdmin[TraceRun]):
    """Traces: nobody edits them."""

    list_display = (
        "when",
        "user",
        "source",
        "target",
        "proto",
        "port",
        "verdict",
        "reason",
        "reply_text",
        "headline",
        "took",
        "on_map",
    )
    list_display_links = ("when", "source", "target")
    list_filter = ("outcome", "disposition", "status", "proto", "created_at", "user")
    list_select_related = ("user",)
    list_per_page = 50
    date_hierarchy = "created_at"
    search_fields = ("source", "target", "disposition", "headline", "error", "user__username")
    search_help_text = "From, to, disposition, headline, error or user"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "source",
                    "target",
                    "proto",
                    "port",
                    "user",
                    "status",
                    "outcome",
                    "headline",
                    "disposition",
                    "reason",
                    "reply_text",
                    "error",
                    "on_map",
                )
            },
        ),
        ("When", {"fields": ("created_at", "started_at", "finished_at", "took")}),
        ("Path", {"fields": ("path", "inputs")}),
    )

    class Media:
        """The path's own looks."""

        css = {"all": ("netviz/trace.css",)}

    def get_queryset(self, request: HttpRequest) -> Any:
        """Leave the large column out of the list."""
        runs = super().get_queryset(request)
        one = request.resolver_match is not None and "object_id" in request.resolver_match.kwargs
        return runs if one else runs.defer("packed")

    @admin.display(description="when", ordering="created_at")
    def when(self, run: TraceRun) -> str:
        """When it was asked for, to the second."""
        return f"{timezone.localtime(run.created_at):%Y-%m-%d %H:%M:%S}"

    @admin.display(description="port")
    def port(self, run: TraceRun) -> str:
        """The destination's port, as it was asked for."""
        return str(run.request.get("dport") or "-")

    @admin.display(description="result", ordering="outcome")
    def verdict(self, run: TraceRun) -> str:
        """What came of it; of one that isn't done, how far it is."""
        if run.status != TraceRun.Status.DONE:
            return run.get_status_display()
        return f"{run.disposition} ({run.outcome})" if run.outcome else run.disposition

    @admin.display(description="reply", ordering="reply")
    def reply_text(self, run: TraceRun) -> str:
        """What became of the answer."""
        return run.reply or "-"

    @admin.display(description="map")
    def on_map(self, run: TraceRun) -> str:
        """Where the page shows it."""
        return format_html('<a href="{}#/trace/{}">Show on the map</a>', reverse("map"), run.pk)

    @admin.display(description="took")
    def took(self, run: TraceRun) -> str:
        """How long it took."""
        return "-" if run.took_s is None else f"{run.took_s * 1000:.0f} ms"

    @admin.display(description="path")
    def path(self, run: TraceRun) -> str:
        """The whole trace to read."""
        return render_to_string("tracing/trace.html", {"run": run, "trace": run.result})

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Administrators only."""
        return may(request.user, ADMINISTRATOR)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Administrators only."""
        return may(request.user, ADMINISTRATOR)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Administrators only."""
        return may(request.user, ADMINISTRATOR)

    def delete_model(self, request: HttpRequest, obj: TraceRun) -> None:
        """Delete one, and record who did."""
        self.delete_queryset(request, TraceRun.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """Delete those that are selected, and record who did."""
        with transaction.atomic():
            for run in queryset.select_related(None).only("source", "target", "proto"):
                audit.record("trace.delete", run, id=str(run.pk))
            queryset.delete()

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Traces are asked for on the map."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """History stays as it was."""
        return False
