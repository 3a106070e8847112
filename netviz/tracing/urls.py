"""HTTP paths of tracing."""

from __future__ import annotations

from django.urls import URLPattern, path

from netviz.tracing import views

urlpatterns: list[URLPattern] = [
    path("api/traces", views.traces, name="api-traces"),
    path("api/trace-tables", views.trace_table, name="api-trace-tables"),
    path("api/traces/<str:trace_id>", views.trace, name="api-trace"),
]
