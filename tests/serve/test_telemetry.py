"""What Prometheus is told, read by Prometheus' own parser."""

from pathlib import Path

import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from running import LIMITS, ask, in_thread

from ucc.pictures import encode_png
from ucc.segmenter import Segmenter
from ucc.serve.app import create_app


def samples(port: int) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = ask(port, "GET", "/metrics")
    assert (answer.status, answer.content_type) == (200, "text/plain")
    families = text_string_to_metric_families(answer.body.decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def of(endpoint: str, **labels: str) -> frozenset[tuple[str, str]]:
    return frozenset({"endpoint": endpoint, **labels}.items())


def test_requests_are_counted_by_endpoint_and_status_and_timed(model: Path) -> None:
    with in_thread(create_app(Segmenter(model, threads=1), LIMITS)) as port:
        body = encode_png(np.full((4, 4, 3), 9, np.uint8))
        for sent in (body, body, b"no picture"):
            ask(port, "POST", "/segment", sent)
        ask(port, "GET", "/v2/health/live")
        assert ask(port, "HEAD", "/v2/health/live").status == 200
        assert ask(port, "HEAD", "/metrics").status == 200
        found = samples(port)
    assert found["ucc_requests_total", of("/segment", status="200")] == 2
    assert found["ucc_requests_total", of("/segment", status="400")] == 1
    assert found["ucc_requests_total", of("/v2/health/live", status="200")] == 2
    for status, count in (("2xx", 2), ("4xx", 1)):
        assert found["ucc_request_seconds_count", of("/segment", status=status)] == count
        assert found["ucc_request_seconds_bucket", of("/segment", status=status, le="+Inf")] == count
        assert found["ucc_request_seconds_sum", of("/segment", status=status)] > 0
    for name in ("ucc_in_flight", "ucc_queue_depth", "ucc_held_bytes"):
        assert found[name, frozenset()] == 0


def test_paths_that_do_not_exist_make_no_series_of_their_own(model: Path) -> None:
    with in_thread(create_app(Segmenter(model, threads=1), LIMITS)) as port:
        samples(port)
        ask(port, "GET", "/a")
        ask(port, "GET", "/v2/models/a")
        before = samples(port)
        for index in range(20):
            ask(port, "GET", f"/{index}")
            ask(port, "GET", f"/v2/models/{index}")
        after = samples(port)
    assert set(after) == set(before)
    assert after["ucc_requests_total", of("other", status="404")] == 21


def test_the_schema_and_the_files_of_the_page_are_not_counted_with_paths_that_do_not_exist(model: Path) -> None:
    with in_thread(create_app(Segmenter(model, threads=1), LIMITS)) as port:
        for path in (
            "/",
            "/openapi.json",
            "/docs",
            "/static/heat.png",
            "/static/main.js",
            "/static/page.css",
            "/static/a",
        ):
            ask(port, "GET", path)
        found = samples(port)
    counted = {key: value for key, value in found.items() if key[0] == "ucc_requests_total"}
    expected = dict.fromkeys(("/", "/openapi.json", "/docs", "/static/heat.png"), 1) | {"/static": 2}
    assert counted == {
        **{("ucc_requests_total", of(path, status="200")): count for path, count in expected.items()},
        ("ucc_requests_total", of("/static", status="404")): 1,
    }


def test_two_services_of_one_process_count_apart(model: Path) -> None:
    segmenter = Segmenter(model, threads=1)
    with in_thread(create_app(segmenter)) as one, in_thread(create_app(segmenter)) as other:
        ask(one, "GET", "/model")
        assert ("ucc_requests_total", of("/model", status="200")) in samples(one)
        assert ("ucc_requests_total", of("/model", status="200")) not in samples(other)
