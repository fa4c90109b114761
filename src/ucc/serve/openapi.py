"""What the OpenAPI page says beyond what FastAPI finds out by itself: bodies that are no JSON, and errors."""

from typing import Any

from fastapi import FastAPI

from ucc.serve import schemas
from ucc.serve.pictures_api import ANSWERS, JSON
from ucc.serve.tensors import HEADER_LENGTH

BYTES = {"type": "string", "format": "binary"}
REASONS = {
    400: "The body is damaged or not what it should be.",
    406: "No answer is of a type that Accept allows.",
    408: "The body took too long.",
    413: "Too many bytes or pixels, or more than there is memory for.",
    415: "The body is compressed.",
    503: "Busy: as many wait as may; Retry-After tells when to try again.",
}
PICTURES = ("image/jpeg", "image/png", "image/bmp", "image/tiff", "image/webp", "application/octet-stream")


def responses(success: dict[str, Any], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """What an operation answers, with 200 and with errors."""
    found: dict[int | str, dict[str, Any]] = {200: success}
    for status in statuses:
        found[status] = {"model": schemas.Problem, "description": REASONS[status]}
        if status == 503:
            found[status]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return found


def picture_body() -> dict[str, Any]:
    """The request's body of `POST /segment`: a picture, bare or as the one file of a form."""
    form = {"type": "object", "properties": {"file": BYTES}, "required": ["file"]}
    content = {kind: {"schema": BYTES} for kind in PICTURES} | {"multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}


def picture_response() -> dict[str, Any]:
    """Its answers, by Accept."""
    offers = {"image/png": {"schema": BYTES}, JSON: {"schema": _reference("PictureAnswer")}}
    return {"description": f"By Accept: {', '.join(ANSWERS)}. Without, the class map.", "content": offers}


def infer_body() -> dict[str, Any]:
    """The request's body of an inference: JSON, or JSON followed by binary data, and the header that tells where."""
    content = {JSON: {"schema": _reference("InferRequest")}, "application/octet-stream": {"schema": BYTES}}
    header = {
        "name": HEADER_LENGTH,
        "in": "header",
        "required": False,
        "schema": {"type": "integer", "minimum": 0},
        "description": "Bytes of JSON that binary data follow.",
    }
    return {"requestBody": {"required": True, "content": content}, "parameters": [header]}


def infer_response() -> dict[str, Any]:
    """Its answers, as the request asks."""
    content = {JSON: {"schema": _reference("InferAnswer")}, "application/octet-stream": {"schema": BYTES}}
    return {"description": "JSON, or JSON followed by binary data.", "content": content}


def complete(app: FastAPI) -> None:
    """Let the schema of `app` hold the types that only the functions above refer to."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        schema = plain()
        for model in (schemas.PictureAnswer, schemas.InferRequest, schemas.InferAnswer):
            described = model.model_json_schema(ref_template="#/components/schemas/{model}")
            known = schema["components"]["schemas"]
            known.update(described.pop("$defs", {}))
            known[model.__name__] = described
        return schema

    # FastAPI's documented way to change its page.
    app.openapi = openapi  # type: ignore[method-assign]


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
