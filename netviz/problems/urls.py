"""HTTP paths of problems."""

from __future__ import annotations

from django.urls import URLPattern, path

from netviz.problems import views

urlpatterns: list[URLPattern] = [
    path("api/problems", views.problems, name="api-problems"),
    path("api/problems/<str:problem_id>", views.problem, name="api-problem"),
]
