"""The line that tells how far work is: a bar in a terminal, whole lines in a log; and that of training."""

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from ucc.progress import SECONDS_BETWEEN_LINES, Progress, TrainingProgress


class Clock:
    """`time.monotonic`, moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    # Of the module alone: a service in another thread of the tests would wait until this clock comes round.
    monkeypatch.setattr("ucc.progress.time", SimpleNamespace(monotonic=made))
    return made


def advance(progress: Progress, clock: Clock, seconds: float, count: int = 1) -> None:
    clock.now += seconds
    progress.advance(count)


def test_a_terminal_shows_a_bar_and_the_time_left_in_one_line(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = Progress("segmented", 4)
    advance(progress, clock, 2)
    advance(progress, clock, 2, 3)
    first, last = capsys.readouterr().err.split("\x1b[K")[:2]
    assert first == "\rsegmented [#####...............] 1/4 images, 0.5 images/s, 6 s left"
    assert last == "\rsegmented [####################] 4/4 images, 1.0 images/s"


def test_what_ends_early_leaves_its_line_as_it_stands(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = Progress("segmented", 2)
    progress.end()
    assert not capsys.readouterr().err
    advance(progress, clock, 2)
    progress.end()
    assert capsys.readouterr().err.endswith("1/2 images, 0.5 images/s, 2 s left\x1b[K\n")
    advance(progress, clock, 2)
    progress.end()
    assert capsys.readouterr().err.count("\n") == 1


def test_a_log_gets_whole_lines_now_and_then_and_the_last(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("hash", 400)
    for _ in range(3):
        advance(progress, clock, SECONDS_BETWEEN_LINES / 2)
    advance(progress, clock, 0, 397)
    assert capsys.readouterr().err == (
        "hash 2/400 images, 0.2 images/s, 33.2 min left\nhash 400/400 images, 26.7 images/s\n"
    )


def test_what_has_no_known_end_is_counted(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("downloading", None, "MB", per_unit=10**6, done=2 * 10**6)
    advance(progress, clock, SECONDS_BETWEEN_LINES, 10**7)
    assert capsys.readouterr().err == "downloading 12 MB, 1.0 MB/s\n"


@pytest.mark.parametrize(("seconds", "told"), [(59, "59 s"), (90, "1.5 min"), (7200, "2.0 h")])
def test_the_time_left_has_a_fitting_unit(
    clock: Clock, capsys: pytest.CaptureFixture[str], seconds: float, told: str
) -> None:
    progress = Progress("segmented", 2)
    advance(progress, clock, seconds)
    assert capsys.readouterr().err.endswith(f", {told} left\n")


def test_training_shows_step_losses_rate_speed_and_time_left(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = TrainingProgress(steps=100, images=lambda _: 4, start=20)
    clock.now += 10
    progress.show({"step": 30, "loss": 1.23456, "lr": 0.02, "val_miou_head_1": 41.234})
    clock.now += 2
    progress.show({"step": 40, "loss": 1.0})
    first, second = capsys.readouterr().out.splitlines()
    figures = "loss 1.235  lr 0.02  val_miou_head_1 41.23"
    assert first == f"step 30/100  {figures}  4.0 images/s  0% waiting for data  1.2 min left"
    assert second == "step 40/100  loss 1  20.0 images/s  0% waiting for data  36 s left"


def test_training_tells_of_more_than_a_day_left(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = TrainingProgress(steps=100, images=lambda _: 4, start=0)
    clock.now += 3600
    progress.show({"step": 1})
    assert capsys.readouterr().out.endswith("  99.0 h left\n")


def test_validation_is_no_time_of_training_and_waiting_for_data_is_a_share_of_it(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    def batches() -> Iterator[int]:
        for number in range(4):
            clock.now += 1
            yield number

    progress = TrainingProgress(steps=4, images=lambda _: 6, start=0)
    for number in progress.timed(batches()):
        clock.now += 3
        if number == 1:
            with progress.apart():
                clock.now += 100
            progress.show({"step": 2})
    progress.show({"step": 4})
    assert "  1.5 images/s  25% waiting for data" in capsys.readouterr().out
    assert progress.speed(4) == {"steps": 4, "images_per_second": 1.5, "waiting_for_data": 0.25}


def test_the_images_of_a_step_count_even_if_not_every_step_has_equally_many(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = TrainingProgress(steps=6, images=lambda step: 2 if step < 4 else 5, start=1)
    for step in (3, 5, 6):
        clock.now += 1
        progress.show({"step": step})
    rates = [line.split("  ")[2] for line in capsys.readouterr().out.splitlines()]
    assert rates == ["4.0 images/s", "7.0 images/s", "5.0 images/s"]
    assert progress.speed(6)["images_per_second"] == pytest.approx(16 / 3, abs=0.01)
