"""Kubernetes objects that tests of the page and its pictures lay over the lab's."""

from __future__ import annotations

# Only pods of `api` may open connections to those of `web`.
WEB_FROM_API = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "web-from-api", "namespace": "default"},
    "spec": {
        "podSelector": {"matchLabels": {"app": "web"}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "api"}}}]}],
    },
}
