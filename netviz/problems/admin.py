"""Problems in the admin pages: what was wrong, for how long, and what people did about it. To read and search."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from netviz.inventory.access import ADMINISTRATOR, may
from netviz.inventory.generic import ModelAdmin
from netviz.problems.models import Problem, Remark
from netviz.problems.shown import list_of, problem_json


class OverFilter(admin.SimpleListFilter):
    """Those that are, and those that were."""

    title = "whether it is over"
    parameter_name = "over"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Two choices."""
        return [("no", "now"), ("yes", "resolved")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Cut the list."""
        if self.value() is None:
            return queryset
        return queryset.filter(ended_at=None) if self.value() == "no" else queryset.exclude(ended_at=None)


@admin.register(Problem)
class ProblemAdmin(ModelAdmin[Problem]):
    """Problems: nobody edits them; what is to be done about one is said on its page."""

    list_display = ("since", "headline", "harm", "node", "pairs", "state", "over", "on_page")
    list_display_links = ("since", "headline")
    list_filter = (OverFilter, "harm", "kind", "found_at")
    list_per_page = 50
    date_hierarchy = "found_at"
    search_fields = ("headline", "node", "kind")
    search_help_text = "Headline, node or kind"
    fieldsets = (
        (
            None,
            {"fields": ("headline", "consequence", "harm", "certainty", "kind", "where", "state", "on_page")},
        ),
        ("When", {"fields": ("since", "found_at", "gone_at", "ended_at", "returns", "unverified")}),
        ("Affected", {"fields": ("affected",)}),
        ("By hand", {"fields": ("commands",)}),
        ("What happened", {"fields": ("history",)}),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        """Leave the large column out."""
        return list_of(super().get_queryset(request))

    @admin.display(description="since", ordering="found_at")
    def since(self, row: Problem) -> str:
        """When it began, as far as that is known."""
        if row.began_at is None:
            return f"before {timezone.localtime(row.found_at):%Y-%m-%d %H:%M:%S}"
        return f"{timezone.localtime(row.began_at):%Y-%m-%d %H:%M:%S}"

    @admin.display(description="state")
    def state(self, row: Problem) -> str:
        """What people decided."""
        return row.state_at(timezone.now())

    @admin.display(description="resolved", ordering="ended_at")
    def over(self, row: Problem) -> str:
        """When it was over."""
        return "-" if row.ended_at is None else f"{timezone.localtime(row.ended_at):%Y-%m-%d %H:%M:%S}"

    @admin.display(description="page")
    def on_page(self, row: Problem) -> str:
        """Where it can be acted on."""
        return format_html('<a href="{}#/problems/{}">Open</a>', reverse("map"), row.pk)

    @admin.display(description="what follows")
    def consequence(self, row: Problem) -> str:
        """The check's sentence."""
        return str(self._json(row)["consequence"])

    @admin.display(description="where")
    def where(self, row: Problem) -> str:
        """Node, namespace and device of the cause."""
        where = self._json(row)["where"]
        return ", ".join(where[part] for part in ("node", "netns", "dev") if where[part])

    @admin.display(description="affected")
    def affected(self, row: Problem) -> str:
        """How many pairs, and the pods that are named."""
        affects = self._json(row)["affects"]
        more = f" and {affects['more']} more" if affects["more"] else ""
        return f"{affects['pairs']} pairs of pods. {', '.join(affects['pods'])}{more}"

    @admin.display(description="check and fix")
    def commands(self, row: Problem) -> str:
        """The commands, each with its machine; netviz runs none of them."""
        shown = self._json(row)
        lines = [(what, one["node"], one["command"]) for what in ("check", "fix") for one in shown[what]]
        return format_html_join("", "<p>{} on {}: <code>{}</code></p>", lines)

    @admin.display(description="what happened")
    def history(self, row: Problem) -> str:
        """Its remarks."""
        lines = [
            (f"{timezone.localtime(one.at):%Y-%m-%d %H:%M:%S}", one.get_kind_display(), one.by, one.text)
            for one in Remark.objects.filter(problem=row)
        ]
        return format_html_join("", "<p>{} {} {} {}</p>", lines)

    def _json(self, row: Problem) -> dict[str, Any]:
        return problem_json(row, timezone.now())

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Administrators only."""
        return may(request.user, ADMINISTRATOR)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Administrators only."""
        return may(request.user, ADMINISTRATOR)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """The checks find them."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What people decide goes through the page or the API, with the audit."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Age and number end the history, nobody's hand."""
        return False
