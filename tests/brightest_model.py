"""An exported file written by hand, whose results can be told by looking.

Class: the brightest of the channels R, G, B; uncertainty: 1 - that channel / 255; scores at stride 4: the channels of
every fourth pixel.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper

COLORS = ((200, 10, 20), (30, 210, 40), (50, 60, 220))
METADATA = {"ucc_format": "2", "classes": json.dumps(["red", "green", "blue"]), "colors": json.dumps(COLORS)}


def write_model(path: Path, metadata: dict[str, str] = METADATA) -> Path:
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", ["pixels"], ["index"], axis=3, keepdims=0),
        helper.make_node("Cast", ["index"], ["classes"], to=TensorProto.UINT8),
        helper.make_node("ReduceMax", ["pixels", "axes"], ["brightest"], keepdims=0),
        helper.make_node("Div", ["brightest", "white"], ["confidence"]),
        helper.make_node("Sub", ["one", "confidence"], ["uncertainty"]),
        helper.make_node("Slice", ["pixels", "begin", "end", "rows_and_columns", "stride"], ["fourth"]),
        helper.make_node("Transpose", ["fourth"], ["logits"], perm=[0, 3, 1, 2]),
    ]
    size = ["batch", "height", "width"]
    graph = helper.make_graph(
        nodes,
        "brightest",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [*size, 3])],
        [
            helper.make_tensor_value_info("classes", TensorProto.UINT8, size),
            helper.make_tensor_value_info("uncertainty", TensorProto.FLOAT, size),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3, "rows", "columns"]),
        ],
        [
            helper.make_tensor("axes", TensorProto.INT64, [1], [3]),
            helper.make_tensor("white", TensorProto.FLOAT, [], [255.0]),
            helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
            helper.make_tensor("begin", TensorProto.INT64, [2], [0, 0]),
            helper.make_tensor("end", TensorProto.INT64, [2], [2**31, 2**31]),
            helper.make_tensor("rows_and_columns", TensorProto.INT64, [2], [1, 2]),
            helper.make_tensor("stride", TensorProto.INT64, [2], [4, 4]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def write_image(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1])
    return path
