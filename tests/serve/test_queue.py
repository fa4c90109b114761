"""Many requests at once: some at work, some waiting, the rest told when to come again; none is forgotten."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from running import GUARD_SECONDS, LIMITS, Answer, ask, in_thread, until

from ucc.errors import UserError
from ucc.pictures import encode_png
from ucc.segmenter import Segmentation, Segmenter
from ucc.serve.app import create_app
from ucc.serve.limits import Limits

ONE_AND_ONE = replace(LIMITS, concurrency=1, queue=1)


def picture(width: int = 4) -> bytes:
    return encode_png(np.full((4, width, 3), 9, np.uint8))


class GatedSegmenter(Segmenter):
    """Works on an image only once the gate is open; keeps the widths of images in the order of their turns."""

    def __init__(self, model: Path) -> None:
        super().__init__(model, threads=1)
        self.gate = threading.Event()
        self.widths: list[int] = []

    def segment(self, image: np.ndarray) -> Segmentation:
        self.widths.append(image.shape[1])
        assert self.gate.wait(GUARD_SECONDS)
        return super().segment(image)


@pytest.fixture
def segmenter(model: Path) -> Iterator[GatedSegmenter]:
    gated = GatedSegmenter(model)
    yield gated
    gated.gate.set()


@pytest.fixture
def clients() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


def metric(port: int, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", ask(port, "GET", "/metrics").body.decode(), re.MULTILINE)
    assert found
    return float(found.group(1))


def test_beyond_the_queue_a_request_is_refused_at_once_with_the_seconds_to_wait(
    segmenter: GatedSegmenter, clients: ThreadPoolExecutor
) -> None:
    with in_thread(create_app(segmenter, ONE_AND_ONE)) as port:
        first = clients.submit(ask, port, "POST", "/segment", picture())
        until(lambda: metric(port, "ucc_in_flight") == 1)
        second = clients.submit(ask, port, "POST", "/segment", picture())
        until(lambda: metric(port, "ucc_queue_depth") == 1)
        for path in ("/segment", "/v2/models/segmenter/infer"):
            refused = ask(port, "POST", path, picture())
            assert refused.status == 503
            assert int(refused.headers["Retry-After"]) >= 1
            assert refused.json()["error"].startswith("Busy")
        assert ask(port, "GET", "/v2/health/ready").status == 200
        segmenter.gate.set()
        assert (first.result().status, second.result().status) == (200, 200)
        until(lambda: metric(port, "ucc_in_flight") == 0)
        assert metric(port, 'ucc_requests_total{endpoint="/segment",status="503"}') == 1
        assert metric(port, "ucc_held_bytes") == 0


def test_requests_come_in_the_order_of_their_arrival(segmenter: GatedSegmenter, clients: ThreadPoolExecutor) -> None:
    with in_thread(create_app(segmenter, replace(LIMITS, concurrency=1, queue=8))) as port:
        answers: list[Future[Answer]] = []
        for width in range(4, 11):
            answers.append(clients.submit(ask, port, "POST", "/segment", picture(width)))
            until(lambda: metric(port, "ucc_in_flight") + metric(port, "ucc_queue_depth") == len(answers))
        segmenter.gate.set()
        assert [answer.result().status for answer in answers] == [200] * 7
    assert segmenter.widths == list(range(4, 11))


def test_a_client_that_hangs_up_while_it_waits_gives_its_place_away(
    segmenter: GatedSegmenter, clients: ThreadPoolExecutor
) -> None:
    with in_thread(create_app(segmenter, ONE_AND_ONE)) as port:
        first = clients.submit(ask, port, "POST", "/segment", picture(4))
        until(lambda: metric(port, "ucc_in_flight") == 1)
        with socket.create_connection(("127.0.0.1", port)) as client:
            body = picture(5)
            client.sendall(f"POST /segment HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            until(lambda: metric(port, "ucc_queue_depth") == 1)
        until(lambda: metric(port, "ucc_queue_depth") == 0)
        third = clients.submit(ask, port, "POST", "/segment", picture(6))
        until(lambda: metric(port, "ucc_queue_depth") == 1)
        segmenter.gate.set()
        assert (first.result().status, third.result().status) == (200, 200)
    assert segmenter.widths == [4, 6]


def test_a_client_that_hangs_up_while_its_picture_is_segmented_leaves_its_slot_free(
    segmenter: GatedSegmenter,
) -> None:
    with in_thread(create_app(segmenter, ONE_AND_ONE)) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            body = picture()
            client.sendall(f"POST /segment HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            until(lambda: metric(port, "ucc_in_flight") == 1)
        segmenter.gate.set()
        until(lambda: metric(port, "ucc_in_flight") == 0)
        assert ask(port, "POST", "/segment", picture()).status == 200


def test_a_request_whose_turn_does_not_come_is_given_up(segmenter: GatedSegmenter, clients: ThreadPoolExecutor) -> None:
    with in_thread(create_app(segmenter, replace(ONE_AND_ONE, queue_seconds=0.2))) as port:
        first = clients.submit(ask, port, "POST", "/segment", picture())
        until(lambda: metric(port, "ucc_in_flight") == 1)
        second = ask(port, "POST", "/segment", picture())
        assert second.status == 503
        assert "not its turn within 0.2 seconds" in second.json()["error"]
        assert int(second.headers["Retry-After"]) >= 1
        segmenter.gate.set()
        assert first.result().status == 200


def test_of_more_clients_than_fit_each_is_answered_if_it_comes_again(model: Path, clients: ThreadPoolExecutor) -> None:
    def ask_until_answered(port: int) -> int:
        refusals = 0
        while (status := ask(port, "POST", "/segment", picture()).status) == 503:
            refusals += 1
            time.sleep(0.005)
        assert status == 200
        return refusals

    with in_thread(create_app(Segmenter(model, threads=1), replace(LIMITS, concurrency=2, queue=2))) as port:
        for done in [clients.submit(ask_until_answered, port) for _ in range(100)]:
            done.result()
        assert metric(port, 'ucc_requests_total{endpoint="/segment",status="200"}') == 100
        assert (metric(port, "ucc_in_flight"), metric(port, "ucc_queue_depth")) == (0, 0)


@pytest.mark.parametrize(
    ("error", "status", "message", "logged"),
    [
        (UserError("onnxruntime failed; a smaller image needs less memory"), 413, "a smaller image", "refused: onnxr"),
        (MemoryError(), 413, "Not enough memory", "refused: Not enough memory"),
        (RuntimeError("secret"), 500, "The service failed; its log tells why.", "failed; the traceback follows."),
    ],
)
def test_a_failure_is_one_message_and_leaves_the_slot_free(
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
    message: str,
    logged: str,
) -> None:
    segmenter = Segmenter(model, threads=1)

    def fail(_: np.ndarray) -> Segmentation:
        raise error

    with in_thread(create_app(segmenter, ONE_AND_ONE)) as port:
        with monkeypatch.context() as patched:
            patched.setattr(segmenter, "segment", fail)
            for _ in range(3):
                answer = ask(port, "POST", "/segment", picture(), {"X-Request-Id": "ab'c"})
                assert answer.status == status
                assert message in answer.json()["error"]
        assert ask(port, "POST", "/segment", picture()).status == 200
    lines = [record.getMessage() for record in caplog.records if record.name == "ucc.serve"]
    assert len(lines) == 3
    assert all(line.startswith(f"""POST /segment (X-Request-Id "ab'c") {logged}""") for line in lines)


def test_the_queue_is_four_times_the_slots_unless_told() -> None:
    assert Limits(concurrency=3).waiting == 12
    assert Limits(concurrency=3, queue=5).waiting == 5


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "1600000 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu.max": "nonsense"}, 8),
        ({}, 8),
    ],
    ids=str,
)
def test_as_many_are_computed_at_once_as_the_container_has_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr("ucc.serve.limits.CGROUP", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8))
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert Limits().concurrency == cores
