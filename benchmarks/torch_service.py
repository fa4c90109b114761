"""The baseline of `benchmarks/serve.py`: the same service with the model in plain eager torch, one thread a request.

    python benchmarks/torch_service.py models/final.pt

Requests are read, queued and answered by the same code; only what onnxruntime does in `ucc serve` torch does here.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ucc.export import ExportedGraph
from ucc.models.store import load_segmenter
from ucc.segmenter import LOGITS, OUTPUTS, Segmentation
from ucc.serve.app import create_app
from ucc.serve.limits import Limits
from ucc.serve.server import listen, serve


class TorchSegmenter:
    """A trained segmenter with those methods of `ucc.Segmenter` that the service calls; images are taken whole."""

    def __init__(self, path: Path) -> None:
        segmenter, facts = load_segmenter(path)
        self._graph = ExportedGraph(segmenter).eval()
        self.classes, self.colors = facts.classes, facts.colors
        self.metadata = {"dataset": facts.dataset}
        self.miou, self.miou_split, self.step = None, None, facts.step

    def segment(self, image: NDArray[np.uint8]) -> Segmentation:
        """Segment one RGB image, uint8 (H, W, 3)."""
        found = self.predict(image[np.newaxis], OUTPUTS)
        return Segmentation(found[OUTPUTS[0]][0], found[OUTPUTS[1]][0])

    def predict(self, images: NDArray[np.uint8], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Named outputs for RGB images, uint8 (B, H, W, 3)."""
        with torch.inference_mode():
            found = self._graph(torch.from_numpy(np.ascontiguousarray(images)))
        return {name: array.numpy() for name, array in zip((*OUTPUTS, LOGITS), found, strict=True) if name in names}


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--queue", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # It has what the service uses of an exported segmenter, and none of the rest.
    app = create_app(TorchSegmenter(arguments.model), Limits(queue=arguments.queue))  # type: ignore[arg-type]
    with listen("127.0.0.1", 0) as listener:
        print(f"{arguments.model} at http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        serve(app, listener, drain_seconds=0, end_seconds=5)


if __name__ == "__main__":
    main()
