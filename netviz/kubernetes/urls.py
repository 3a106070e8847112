"""HTTP paths of Kubernetes' objects."""

from __future__ import annotations

from django.urls import URLPattern, path

from netviz.kubernetes import views

urlpatterns: list[URLPattern] = [
    path("api/services", views.service_list, name="api-services"),
    path("api/services/<str:namespace>/<str:name>", views.service, name="api-service"),
    path("api/workloads", views.workload_list, name="api-workloads"),
    path("api/workloads/<str:kind>/<str:namespace>/<str:name>", views.workload, name="api-workload"),
    path("api/policies", views.policy_list, name="api-policies"),
    path("api/policies/<str:home>/<str:name>", views.policy, name="api-policy"),
    path("api/policy-preview", views.policy_preview, name="api-policy-preview"),
    path("api/why", views.why, name="api-why"),
    path("api/namespaces", views.namespace_list, name="api-namespaces"),
    path("api/namespaces/<str:name>", views.namespace, name="api-namespace"),
]
