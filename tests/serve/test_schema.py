"""The OpenAPI page keeps its word: schemathesis asks all that it allows, and much that it does not."""

from pathlib import Path

import hypothesis
import numpy as np
import pytest
import schemathesis
from hypothesis import strategies as st
from running import LIMITS, ask, in_thread
from schemathesis import Case, GenerationMode
from schemathesis.schemas import APIOperation

from ucc.pictures import encode_png
from ucc.segmenter import Segmenter
from ucc.serve.app import create_app
from ucc.serve.tensors import HEADER_LENGTH


@st.composite
def pictures(draw: st.DrawFn) -> bytes:
    height, width, value = draw(st.tuples(st.integers(1, 16), st.integers(1, 16), st.integers(0, 255)))
    return encode_png(np.full((height, width, 3), value, np.uint8))


@st.composite
def requests(draw: st.DrawFn) -> dict[str, object]:
    """Inference requests whose data agree with their shape, of which a schema cannot tell."""
    shape = [*draw(st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 9))), 3]
    data = np.full(shape, draw(st.integers(0, 255)))
    names = draw(st.lists(st.sampled_from(["classes", "uncertainty", "logits"]), unique=True))
    return {
        "inputs": [
            {
                "name": "image",
                "datatype": "UINT8",
                "shape": shape,
                "data": draw(st.sampled_from([data, data.ravel()])).tolist(),
            }
        ],
        "outputs": [{"name": name, "parameters": {"binary_data": draw(st.booleans())}} for name in names],
        "id": draw(st.text(max_size=5)),
    }


def allowed(operation: APIOperation) -> st.SearchStrategy[Case]:
    """Requests that the operation must accept."""

    def fill(case: Case, picture: bytes, request: dict[str, object]) -> Case:
        if operation.path == "/segment":
            case.body = {"file": picture} if case.media_type == "multipart/form-data" else picture
        elif operation.path.endswith("/infer"):
            case.body, case.media_type = request, "application/json"
            case.headers.pop(HEADER_LENGTH, None)
        return case

    return st.builds(fill, operation.as_strategy(generation_mode=GenerationMode.POSITIVE), pictures(), requests())


def try_all(requests: st.SearchStrategy[Case], examples: int, excluded: list[str]) -> None:
    checks = [schemathesis.checks.CHECKS.get_one(name) for name in excluded]

    @hypothesis.settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.seed(0)
    @hypothesis.given(case=requests)
    def run(case: Case) -> None:
        case.call_and_validate(excluded_checks=checks)

    run()


@pytest.mark.parametrize("examples", [20, pytest.param(500, marks=pytest.mark.long)])
def test_every_operation_answers_as_its_description_says(model: Path, examples: int) -> None:
    with in_thread(create_app(Segmenter(model, threads=1), LIMITS)) as port:
        schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")
        for found in schema.get_all_operations():
            operation = found.ok()
            # schemathesis takes a body of bytes, which is no JSON, for one that the schema does not allow.
            try_all(allowed(operation), examples, ["negative_data_rejection"])
            if operation.method == "post":
                # What fits the schema may still be no picture, and what does not is a picture nevertheless.
                is_picture = operation.path == "/segment"
                excluded = ["positive_data_acceptance", *["negative_data_rejection"] * is_picture]
                for mode in GenerationMode:
                    try_all(operation.as_strategy(generation_mode=mode), examples, excluded)
        metrics = ask(port, "GET", "/metrics").body.decode()
    for path in ("/segment", "/v2/models/segmenter/infer"):
        for status in (200, 400):
            assert f'ucc_requests_total{{endpoint="{path}",status="{status}"}}' in metrics
    assert 'status="5' not in metrics
