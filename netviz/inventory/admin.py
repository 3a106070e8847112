"""Admin pages: clusters, nodes, collectors with their health, API tokens.

A token is shown on the page that answers the request that made it, and nowhere else: the database
has its hash only.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html

from netviz.inventory import audit_admin as audit_admin
from netviz.inventory.forms import ApiTokenForm, EnrolForm
from netviz.inventory.generic import ModelAdmin
from netviz.inventory.models import ApiToken, Cluster, Collector, Node
from netviz.inventory.readable import ago, delay, share, size
from netviz.inventory.service import (
    approve_collector,
    enrol,
    make_api_token,
    revoke_api_token,
    revoke_collector,
)


def show_tokens(request: HttpRequest, title: str, tokens: list[tuple[str, str]], note: str) -> HttpResponse:
    """Answer with a page that shows new tokens, to be copied now or never."""
    context = {**admin.site.each_context(request), "title": title, "tokens": tokens, "note": note}
    response = TemplateResponse(request, "admin/inventory/tokens.html", context)
    response["Cache-Control"] = "no-store"
    return response


def show_enrolled(request: HttpRequest, made: list[tuple[Collector, str]]) -> HttpResponse:
    """Answer with the command that starts each new collector on its node: to be copied now or never."""
    server = request.build_absolute_uri("/").rstrip("/")
    # What is served without TLS and isn't this machine has to be allowed.
    host = request.get_host().rsplit(":", 1)[0]
    insecure = server.startswith("http://") and host not in ("localhost", "127.0.0.1", "[::1]")
    collectors = [
        {"collector": one, "name": one.source, "token": token, "file": f"{one.source}.token"}
        for one, token in made
    ]
    waiting = any(one.status != Collector.Status.APPROVED for one, _ in made)
    name = made[0][0].source if len(made) == 1 else f"{len(made)} nodes"
    context = {
        **admin.site.each_context(request),
        "title": f"Enrolled {name}",
        "collectors": collectors,
        "server": server,
        "insecure": insecure,
        "waiting": waiting,
    }
    response = TemplateResponse(request, "admin/inventory/enrolled.html", context)
    response["Cache-Control"] = "no-store"
    return response


@admin.register(Cluster)
class ClusterAdmin(ModelAdmin[Cluster]):
    """Clusters and how many of their nodes are connected."""

    list_display = ("name", "description", "node_count", "connected_count")
    search_fields = ("name", "description")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Cluster]:
        """Count along."""
        connected = Count("nodes", filter=Q(nodes__collectors__connected=True), distinct=True)
        return (
            super().get_queryset(request).annotate(total=Count("nodes", distinct=True), connected=connected)
        )

    @admin.display(description="nodes", ordering="total")
    def node_count(self, cluster: Any) -> int:
        """How many nodes it has."""
        total: int = cluster.total
        return total

    @admin.display(description="connected", ordering="connected")
    def connected_count(self, cluster: Any) -> int:
        """How many of them have a connected collector."""
        connected: int = cluster.connected
        return connected


@admin.register(Node)
class NodeAdmin(ModelAdmin[Node]):
    """Nodes; a collector is enrolled from here."""

    list_display = ("name", "cluster", "is_connected", "usable", "created_at")
    list_filter = ("cluster", "collectors__status", "collectors__connected")
    search_fields = ("name", "cluster__name")
    list_select_related = ("cluster",)
    actions = ("enrol_collectors",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Node]:
        """Count along."""
        approved = Q(collectors__status=Collector.Status.APPROVED)
        return (
            super()
            .get_queryset(request)
            .annotate(
                approved=Count("collectors", filter=approved, distinct=True),
                online=Count("collectors", filter=Q(collectors__connected=True), distinct=True),
            )
        )

    @admin.display(description="connected", boolean=True, ordering="online")
    def is_connected(self, node: Any) -> bool:
        """Whether its collector is connected."""
        return bool(node.online)

    @admin.display(description="approved collectors", ordering="approved")
    def usable(self, node: Any) -> int:
        """How many collectors may speak for it."""
        approved: int = node.approved
        return approved

    @admin.action(description="Enrol a collector for each (its token is shown once)", permissions=["change"])
    def enrol_collectors(self, request: HttpRequest, nodes: QuerySet[Node]) -> HttpResponse:
        """Make a token for each node, approved, because an administrator asks."""
        return show_enrolled(request, [enrol(node.name, approve=True) for node in nodes])


class SaidValues(admin.AllValuesFieldListFilter):
    """A filter by what collectors say, in which those that said nothing yet have a name."""

    def choices(self, changelist: Any) -> Any:
        """Name what is empty."""
        for choice in super().choices(changelist):
            yield {**choice, "display": choice["display"] or "not said yet"}


IDENTITY = ("subject", "status", "token_hint", "connected", "seen")
MOMENTS = ("enrolled_at", "approved_at", "revoked_at")
REPORTED = ("version", "kernel", "whole", "lag", "losses", "resyncs", "cpu_share", "memory")


class _TokenMade(HttpRequest):
    """A request that has made a token, until its answer has shown it."""

    new_token: str


@admin.register(Collector)
class CollectorAdmin(ModelAdmin[Collector]):
    """Collectors: who may connect, who is connected, and how they do."""

    list_display = (
        "speaks_for",
        "state",
        "connected",
        "seen",
        "version",
        "lag",
        "losses",
        "cpu_share",
        "memory",
        "whole",
        "token_hint",
    )
    list_filter = ("status", "connected", "complete", "node__cluster", "cluster", ("version", SaidValues))
    search_fields = ("node__name", "node__cluster__name", "cluster__name", "version", "kernel", "token_hint")
    list_select_related = ("node", "cluster")
    actions = ("approve", "revoke")
    fieldsets = (
        (None, {"fields": IDENTITY}),
        ("When", {"fields": MOMENTS}),
        ("What it says of itself", {"fields": REPORTED}),
    )
    readonly_fields = (*IDENTITY, *MOMENTS, *REPORTED)

    def has_change_permission(self, request: HttpRequest, obj: Collector | None = None) -> bool:
        """Nothing of a collector is edited: it is approved and revoked by actions."""
        return obj is None and super().has_change_permission(request)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Enrol: ask for the node, then show the token."""
        if not self.has_add_permission(request):
            return super().add_view(request, form_url, extra_context)
        form = EnrolForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            values = form.cleaned_data
            made = [
                enrol(name, cluster_name=values["cluster"], approve=values["approve"])
                for name in values["node"]
            ]
            for collector, _ in made:
                self.log_addition(request, collector, "enrolled")
            return show_enrolled(request, made)
        context = {**admin.site.each_context(request), "title": "Enrol collectors", "form": form}
        return TemplateResponse(request, "admin/inventory/enrol.html", context)

    @admin.action(description="Approve", permissions=["change"])
    def approve(self, request: HttpRequest, collectors: QuerySet[Collector]) -> None:
        """Let those that wait connect."""
        done = [collector for collector in collectors if approve_collector(collector)]
        for collector in done:
            self.log_change(request, collector, "approved")
        self.message_user(request, f"{len(done)} approved", messages.SUCCESS)

    @admin.action(description="Revoke (cuts the connection at once)", permissions=["change"])
    def revoke(self, request: HttpRequest, collectors: QuerySet[Collector]) -> HttpResponse | None:
        """Ask, then take the right to connect away, until it is approved again."""
        if "sure" not in request.POST:
            context = {
                **admin.site.each_context(request),
                "title": "Revoke collectors",
                "collectors": collectors,
                "connected": sum(one.connected for one in collectors),
            }
            return TemplateResponse(request, "admin/inventory/collector/revoke.html", context)
        done = [collector for collector in collectors if revoke_collector(collector)]
        for collector in done:
            self.log_change(request, collector, "revoked")
        self.message_user(request, f"{len(done)} revoked", messages.SUCCESS)
        return None

    def get_urls(self) -> list[URLPattern]:
        """Add what the buttons on a collector's own page do."""
        own = [
            path(
                f"<int:pk>/{verb}/",
                self.admin_site.admin_view(partial(self.change_one, verb=verb)),
                name=f"inventory_collector_{verb}",
            )
            for verb in ("approve", "revoke")
        ]
        return [*own, *super().get_urls()]

    def change_one(self, request: HttpRequest, pk: int, verb: str) -> HttpResponse:
        """Approve or revoke one collector."""
        if request.method != "POST" or not self.has_change_permission(request):
            raise PermissionDenied
        collector = get_object_or_404(Collector, pk=pk)
        change = approve_collector if verb == "approve" else revoke_collector
        if change(collector):
            self.log_change(request, collector, f"{verb}d")
            self.message_user(request, f"{collector.subject}: {verb}d", messages.SUCCESS)
        else:
            self.message_user(request, f"{collector.subject} was {verb}d already", messages.WARNING)
        return HttpResponseRedirect(reverse("admin:inventory_collector_change", args=[pk]))

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show one, with its buttons for who may change it."""
        extra = {"may_change": self.has_change_permission(request), **(extra_context or {})}
        return super().change_view(request, object_id, form_url, extra)

    @admin.display(description="speaks for", ordering="node__name")
    def speaks_for(self, collector: Collector) -> str:
        """Its node's name, or its cluster."""
        return collector.subject if collector.node is None else collector.node.name

    @admin.display(description="status", ordering="status")
    def state(self, collector: Collector) -> str:
        """Whether it may connect, in a word; who waits for approval stands out."""
        words = "waits for approval" if collector.status == Collector.Status.ENROLLED else collector.status
        return format_html('<span class="state {}">{}</span>', collector.status, words)

    @admin.display(description="last seen", ordering="last_seen_at")
    def seen(self, collector: Collector) -> str:
        """How long ago it said something."""
        return ago(collector.last_seen_at)

    @admin.display(description="lag", ordering="lag_s")
    def lag(self, collector: Collector) -> str:
        """How old the oldest change is that it could not send yet."""
        return delay(collector.lag_s)

    @admin.display(description="lost / left out", ordering="lost_events")
    def losses(self, collector: Collector) -> str:
        """Kernel events that it lost, and changes that it left out under load."""
        return f"{collector.lost_events} / {collector.shed_events}"

    @admin.display(description="CPU", ordering="cpu")
    def cpu_share(self, collector: Collector) -> str:
        """How much of a core it uses."""
        return share(collector.cpu)

    @admin.display(description="memory", ordering="rss_bytes")
    def memory(self, collector: Collector) -> str:
        """How much memory it holds."""
        return size(collector.rss_bytes)

    @admin.display(description="complete", boolean=True, ordering="complete")
    def whole(self, collector: Collector) -> bool:
        """Whether it could read everything that it wants to."""
        return collector.complete


@admin.register(ApiToken)
class ApiTokenAdmin(ModelAdmin[ApiToken]):
    """People's tokens for the HTTP API."""

    form = ApiTokenForm
    list_display = ("name", "user", "may_do", "token_hint", "created_at", "expires_at", "used", "valid")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter), "user")
    search_fields = ("name", "user__username", "token_hint")
    list_select_related = ("user",)
    fields = ("user", "name", "scopes", "expires_at")
    actions = ("revoke",)

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        """A token is made and revoked, never edited."""
        return obj is None and super().has_change_permission(request)

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:
        """Make the token; `response_add` shows it."""
        made, cast(_TokenMade, request).new_token = make_api_token(
            obj.user, obj.name, scopes=obj.scopes, expires_at=obj.expires_at
        )
        obj.pk = made.pk

    def response_add(
        self, request: HttpRequest, obj: ApiToken, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the token."""
        return show_tokens(
            request,
            "A new API token",
            [(str(obj), cast(_TokenMade, request).new_token)],
            "Send it as Authorization: Bearer TOKEN.",
        )

    @admin.action(description="Revoke (cuts its open sockets at once)", permissions=["change"])
    def revoke(self, request: HttpRequest, tokens: QuerySet[ApiToken]) -> None:
        """Make them worthless."""
        done = [token for token in tokens if revoke_api_token(token)]
        for token in done:
            self.log_change(request, token, "revoked")
        self.message_user(request, f"{len(done)} revoked", messages.SUCCESS)

    @admin.display(description="last used", ordering="last_used_at")
    def used(self, token: ApiToken) -> str:
        """How long ago it was used, to the minute."""
        return ago(token.last_used_at)

    @admin.display(description="valid", boolean=True)
    def valid(self, token: ApiToken) -> bool:
        """Whether it still opens anything."""
        return token.problem(timezone.now()) is None

    @admin.display(description="scopes")
    def may_do(self, token: ApiToken) -> str:
        """What it may do, within its user's role."""
        return ", ".join(token.scopes)
