"""HTTP paths of observing."""

from __future__ import annotations

from django.urls import URLPattern, path

from netviz.observing import views

urlpatterns: list[URLPattern] = [
    path("api/netns/<str:key>/connections", views.connections, name="api-connections"),
    path("api/captures", views.new_capture, name="api-captures"),
    path("api/captures/<str:observation_id>", views.capture, name="api-capture"),
    path("api/drops", views.drop_watch, name="api-drops"),
    path("api/observations", views.observations, name="api-observations"),
    path("api/observations/<str:observation_id>", views.observation, name="api-observation"),
    path("api/observations/<str:observation_id>/file", views.file_of, name="api-observation-file"),
    path("api/observations/<str:observation_id>/export", views.exported, name="api-observation-export"),
]
