"""The line that tells how far work is: a bar in a terminal, whole lines in a log."""

import sys

import pytest

from ucc.progress import SECONDS_BETWEEN_LINES, Progress


class Clock:
    """`time.monotonic`, moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("time.monotonic", made)
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
