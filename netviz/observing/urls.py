"""HTTP paths of observing."""

from __future__ import annotations

from django.urls import URLPattern, path

from netviz.observing import views

urlpatterns: list[URLPattern] = [
    path("api/observations", views.observations, name="api-observations"),
    path("api/observations/<str:observation_id>", views.observation, name="api-observation"),
    path("api/observations/<str:observation_id>/file", views.file_of, name="api-observation-file"),
]
