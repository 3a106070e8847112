"""HTTP paths of the demo's faults."""

from __future__ import annotations

from django.urls import URLPattern, path

from netviz.demo import views

urlpatterns: list[URLPattern] = [path("api/lab/faults", views.faults, name="api-lab-faults")]
