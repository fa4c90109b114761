"""The exported file with its convolutions in 8 bits, for processors that multiply bytes faster than floats.

Static quantisation after training (Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018): a value x is stored as round(x / scale) + zero point. Activations are
unsigned bytes over the range that they take on calibration images, weights signed bytes with a scale for each output
channel. The first and the last convolution stay float: they see the pixels and make the scores, cost little, and lose
most. All else, upsampling and uncertainty among it, is float as before.

On x86 processors without VNNI onnxruntime adds products of bytes in 16 bits, which may overflow: what was measured on
one kind of processor holds for that kind.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from ucc.data.images import Image, read_image
from ucc.data.manifest import Manifest, Sample
from ucc.data.samples import evenly_spaced
from ucc.files import atomic_path
from ucc.progress import Progress
from ucc.segmenter import INPUT, INT8, QUANTIZED_KEY, QUANTIZED_MIOU_KEY, TILE

TRAINING = ("labeled", "unlabeled")
# A ReLU or ReLU6 is the lower and the upper end of what its convolution's output is stored as: no work of its own.
OPERATORS = ["Conv", "Relu", "Clip"]


def calibration_samples(manifest: Manifest, count: int) -> list[Sample]:
    """Up to `count` training images, with and without masks, spread evenly."""
    return evenly_spaced([sample for sample in manifest.samples if sample.subset in TRAINING], count)


def quantize(source: Path, target: Path, dataset: Path, samples: Sequence[Sample]) -> None:
    """Write the exported file `source` as `target`, quantised; metadata are kept, and `quantized: int8` is added.

    Ranges are the smallest and the largest value of each activation over the images of `samples`, of which the masks
    are not read. The same arguments give the same bytes.

    Args:
        dataset: folder that the samples' paths are relative to.
        samples: at least one.

    Raises:
        UserError: if an image cannot be read.
    """
    model = onnx.load(source)
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    producer = model.producer_name, model.producer_version
    # What the library would advise to do first, folding BatchNorm into convolutions, the exporter has done.
    onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, prepared)
        quantize_static(
            str(prepared),
            str(quantized),
            _Reader(dataset, samples),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=OPERATORS,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[convolutions[0], convolutions[-1]],
            calibrate_method=CalibrationMethod.MinMax,
        )
        model = onnx.load(quantized)
    model.producer_name, model.producer_version = producer
    onnx.helper.set_model_props(model, metadata | {QUANTIZED_KEY: INT8})
    model.graph.ClearField("value_info")  # shapes of inner tensors, which nobody needs
    onnx.checker.check_model(model, full_check=True)
    with atomic_path(target) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def note_miou(path: Path, miou: float) -> None:
    """Let a quantised file carry its own mean IoU, in percent, beside the metrics of the float one."""
    model = onnx.load(path)
    model.metadata_props.add(key=QUANTIZED_MIOU_KEY, value=f"{miou:.4f}")
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Feeds images one by one, of large ones the middle, which is what a tile shows."""

    def __init__(self, dataset: Path, samples: Sequence[Sample]) -> None:
        self.paths = iter([dataset / sample.image for sample in samples])
        self.progress = Progress("calibrate", len(samples))

    def get_next(self) -> dict[str, Any] | None:
        path = next(self.paths, None)
        if path is None:
            return None
        image = _middle(read_image(path), TILE)
        self.progress.advance()
        return {INPUT: image[None]}


def _middle(image: Image, side: int) -> Image:
    top, left = (max(0, length - side) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]
