"""A service of exactly what the page needs of one, for the page's tests: `GET /model` and `POST /segment` as JSON."""

import base64
import json
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from ucc.errors import UserError
from ucc.images import decode_image
from ucc.pictures import encode_indexed_png, encode_png
from ucc.segmenter import Segmenter
from ucc.serve.page import add_page

LIMITS = {"bytes": 20_000_000, "pixels": 16_000_000}


def create_service(segmenter: Segmenter) -> FastAPI:
    app = FastAPI()
    metadata = segmenter.metadata
    classes = [
        {"index": index, "name": name, "color": list(color)}
        for index, (name, color) in enumerate(zip(segmenter.classes, segmenter.colors, strict=True))
    ]

    @app.get("/model")
    async def model() -> dict[str, Any]:
        metrics = json.loads(metadata.get("metrics", "{}"))
        return {
            "name": "segmenter",
            "classes": classes,
            "miou": metrics.get("miou"),
            "dataset": metadata.get("dataset", "unknown"),
            "revision": metadata.get("git_revision", "unknown"),
            "step": int(metadata.get("step", 0)),
            "quantized": False,
            "ucc_version": metadata.get("ucc_version", "unknown"),
            "limits": LIMITS,
        }

    @app.post("/segment")
    async def segment(request: Request) -> Response:
        try:
            image = decode_image(await request.body())
        except UserError:
            error = "The body is no JPEG, PNG, BMP, TIFF or WebP; send the bytes of one picture."
            return JSONResponse({"error": error}, 400)
        found = segmenter.segment(image)
        shares = np.bincount(found.classes.ravel(), minlength=len(classes)) / found.classes.size
        unsure = np.clip(found.uncertainty / (1 - 1 / len(classes)), 0, 1)
        return JSONResponse(
            {
                "width": image.shape[1],
                "height": image.shape[0],
                "classes": [entry | {"share": float(shares[entry["index"]])} for entry in classes],
                "mean_uncertainty": float(found.uncertainty.mean()),
                "class_map": base64.b64encode(encode_indexed_png(found.classes, segmenter.colors)).decode(),
                "uncertainty_map": base64.b64encode(encode_png(np.rint(unsure * 255).astype(np.uint8))).decode(),
            }
        )

    add_page(app)
    return app
