"""What the tests of the service share: a model made by hand, and a service that holds it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from brightest_model import write_model
from running import LIMITS, in_thread

from ucc.segmenter import Segmenter
from ucc.serve.app import create_app


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmenter made by hand: a pixel's class is its brightest channel."""
    return write_model(tmp_path_factory.mktemp("model") / "segmenter.onnx")


@pytest.fixture(scope="session")
def port(model: Path) -> Iterator[int]:
    """A service of small limits."""
    with in_thread(create_app(Segmenter(model, threads=1), LIMITS)) as number:
        yield number
