"""What the Kubernetes API has, on the page: the lab's objects, followed by the real watcher beside its collectors."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from lab.cluster import Cluster
from lab.stack import WATCHER, Stack
from tests.browser.chromium import log_in
from tests.browser.conftest import watched_page
from tests.browser.objects import WEB_FROM_API
from tests.stack import whole_netviz

pytestmark = [pytest.mark.browser, pytest.mark.live]
Netviz = tuple[Cluster, Stack]


@pytest.fixture(scope="module")
def netviz(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Netviz]:
    """Two nodes with five pods each and ten services, whose objects a watcher follows."""
    with whole_netviz(tmp_path_factory.mktemp("netviz"), nodes=2, pods=5, services=10) as pair:
        yield pair


@pytest.fixture
def page(browser: Browser, netviz: Netviz) -> Iterator[Page]:
    """A logged-in page."""
    _, stack = netviz
    with watched_page(browser, stack.access) as page:
        log_in(page, stack.access)
        yield page


def test_a_service_has_its_endpoints_where_they_are_and_who_talks_to_them(page: Page, netviz: Netviz) -> None:
    cluster, _ = netviz
    expect(page.get_by_test_id("strip-kubernetes")).to_contain_text("Kubernetes API followed")
    page.get_by_test_id("kube-view").click()
    expect(page.get_by_test_id("kube-list").locator("li")).to_have_count(11)
    page.get_by_test_id("kube-filter").fill("web")
    expect(page.get_by_test_id("kube-list").locator("li")).to_have_count(2)
    page.locator('[data-id="default/web"]').click()
    endpoints = page.get_by_test_id("kube-endpoints")
    for number in (1, 2):
        row = endpoints.locator("tr", has_text=f"web-{number}")
        for word in (f"node{number}", cluster.address_of(f"web-{number}"), "ready"):
            expect(row).to_contain_text(word)
    address = next(one for one in cluster.state.services if one["metadata"]["name"] == "web")["spec"][
        "clusterIP"
    ]
    expect(page.get_by_test_id("kube-detail")).to_contain_text(address)
    done = cluster.exec("api-2", ["curl", "-sS", "--http0.9", "--max-time", "3", f"http://{address}"])
    assert done.stdout, done.stderr  # the echo server answers and leaves the connection open
    expect(page.get_by_test_id("kube-talkers")).to_contain_text("default/api")
    endpoints.get_by_role("link", name="web-1").click()
    expect(page.get_by_test_id("inspector")).to_contain_text("web-1")
    expect(page.get_by_test_id("inspector")).to_contain_text("app=web")
    expect(page.get_by_test_id("resolv")).to_contain_text("10.96.0.")
    page.get_by_test_id("inspector").get_by_role("link", name="web", exact=True).click()
    expect(page).to_have_url(re.compile(r"#/workloads/Deployment/default/web$"))
    expect(page.get_by_test_id("kube-pods").locator("tbody tr")).to_have_count(2)


def test_a_trace_to_a_service_says_service_and_endpoint(page: Page, netviz: Netviz) -> None:
    _, stack = netviz
    page.goto(f"{stack.access.url}/#/services/default/api")
    page.get_by_test_id("trace-to").click()
    expect(page).to_have_url(re.compile(r"#/trace\?to=svc%2Fdefault%2Fapi$"))
    page.locator('[data-pod="default/web-1"] a').click()
    expect(page.get_by_test_id("disposition")).to_contain_text("DELIVERED", ignore_case=True)
    for number in (1, 2):
        text = f"service default/api, endpoint api-{number} on node{number}"
        expect(page.get_by_test_id("branch").filter(has_text=text)).to_have_count(1)


def test_namespaces_lead_on_and_the_list_of_pods_is_narrowed(page: Page, netviz: Netviz) -> None:
    _, stack = netviz
    page.goto(f"{stack.access.url}/#/namespaces/kube-system")
    detail = page.get_by_test_id("kube-detail")
    expect(detail).to_contain_text("coredns")
    expect(detail).to_contain_text("DaemonSet")
    expect(page.get_by_test_id("kube-pods").locator("tr", has_text="kube-proxy").first).to_contain_text(
        "the node’s"
    )
    page.goto(f"{stack.access.url}/#/")
    shown, hosted = page.locator("[data-pod]:visible"), page.locator("[data-hosted]:visible")
    expect(hosted).to_have_count(2)
    for text, pods, proxies in (
        ("label:app=web", 2, 0),
        ("workload:kube-proxy", 0, 2),
        ("svc:default/api", 2, 0),
        ("ns:default node:node1", 5, 0),
        ("nosuch", 0, 0),
        ("", 12, 2),
    ):
        page.get_by_test_id("pod-filter").fill(text)
        expect(shown).to_have_count(pods)
        expect(hosted).to_have_count(proxies)
    page.locator("#pods [data-node=node1] a").first.click()
    expect(page.get_by_test_id("host-pods")).to_contain_text("kube-system/kube-proxy")


SHUT = """kind: NetworkPolicy
metadata: {name: shut, namespace: default}
spec: {podSelector: {matchLabels: {app: api}}, policyTypes: [Ingress]}
"""


def test_programming_and_policies_are_told_and_asked(page: Page, netviz: Netviz) -> None:
    cluster, stack = netviz
    cluster.apply([WEB_FROM_API])
    page.goto(f"{stack.access.url}/#/services/default/web")
    programmed = page.get_by_test_id("programming").locator("tbody tr")
    expect(programmed).to_have_count(1)
    expect(programmed).to_contain_text("node1, node2")
    expect(programmed).to_contain_text("as the API says")
    expect(programmed.locator('[data-cell="programmed"]')).to_have_count(2)
    field = page.get_by_test_id("tile-field").get_by_role("img")
    expect(field).to_have_accessible_name("2 nodes: 2 programmed")
    page.get_by_role("link", name="default/web-from-api").first.click()
    expect(page.get_by_test_id("enforced").locator("tr", has_text="node1")).to_contain_text("enforced")
    row = page.get_by_test_id("matrix-in").locator("tr", has_text="outside")
    expect(row.locator('[data-answer="denied"]').first).to_be_visible()
    page.get_by_test_id("why-to").fill("default/web-1")
    page.get_by_test_id("why-from").fill("default/web-2")
    page.get_by_test_id("why-submit").click()
    expect(page.get_by_test_id("why-answer")).to_contain_text(
        "Denied: policy default/web-from-api selects default/web-1"
    )
    page.get_by_test_id("preview-text").fill(SHUT)
    page.get_by_test_id("preview-submit").click()
    expect(page.get_by_test_id("preview-changes").locator("tbody tr").first).to_contain_text("becomes denied")
    page.goto(f"{stack.access.url}/#/workloads/Deployment/default/web")
    page.get_by_test_id("table-way").select_option("to")
    page.get_by_test_id("table-to").fill("default/web-1")
    page.get_by_test_id("table-submit").click()
    expect(page.get_by_test_id("trace-table").locator("tbody tr")).to_have_count(1)
    expect(page.get_by_test_id("trace-table")).to_contain_text("default/web-2")
    cluster.delete("NetworkPolicy", "web-from-api")


def test_a_watcher_that_is_gone_is_told_and_what_it_said_stays(page: Page, netviz: Netviz) -> None:
    _, stack = netviz
    page.goto(f"{stack.access.url}/#/services/default/web")
    expect(page.get_by_test_id("kube-endpoints")).to_contain_text("web-1")
    stack.collectors[WATCHER].kill()
    strip = page.get_by_test_id("strip-kubernetes")
    expect(strip).to_contain_text("Kubernetes API not watched")
    expect(strip).to_have_attribute("data-tone", "bad")
    expect(page.get_by_test_id("kube")).to_contain_text("What is shown may be out of date")
    expect(page.get_by_test_id("kube-endpoints")).to_contain_text("web-1")
    page.get_by_test_id("problems-view").click()
    expect(page.locator('[data-testid=problem][data-kind="watcher-lost"]')).to_be_visible()
    stack.lost_collectors()
    stack.start_watcher()
    expect(strip).to_contain_text("Kubernetes API followed")
