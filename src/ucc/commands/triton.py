"""`ucc triton`: an exported model as a model repository of NVIDIA's Triton Inference Server.

    models/triton/segmenter/config.pbtxt      inference.ModelConfig in protobuf's text format
    models/triton/segmenter/1/model.onnx      version 1

The rules are those of Triton's user guide, "Model Repository" and "Model Configuration": a folder is called like its
model; where `max_batch_size` is not 0, every tensor's first dimension is the batch and `dims` are the others, -1 where
they are free. `parameters` tell the server its threads, and clients the classes, which Triton does not pass on.
"""

import argparse
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from ucc.commands.arguments import check_model_name, natural, positive
from ucc.errors import UserError
from ucc.files import atomic_folder, sweep
from ucc.segmenter import Segmenter

CONFIG = "config.pbtxt"
MADE_BY = "# Written by `ucc triton`"
TYPES = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32"}
DEVICES = ("auto", "cpu", "gpu")


def main(arguments: Sequence[str]) -> int:
    """Write the repository that the command line asks for; returns the exit status.

    Raises:
        UserError: if the model cannot be used, the name is none, or a folder there is not this command's.
        OSError: if the repository cannot be written.
    """
    options = _parse(arguments)
    name = check_model_name(options.name or options.model.stem)
    folder = options.out / name
    check_folder(folder)
    config = describe_model(options.model, name, options.max_batch, options.threads, options.device)
    if options.out.is_dir():
        sweep(options.out)
    with atomic_folder(folder) as temporary:
        (temporary / CONFIG).write_text(config, encoding="utf-8")
        (temporary / "1").mkdir()
        # No link: whatever happens to the file here, that of the pipeline stays what DVC knows.
        shutil.copyfile(options.model, temporary / "1" / "model.onnx")
    print(f"{folder}: model {name!r}, for tritonserver --model-repository={options.out.resolve()}")
    return 0


def check_folder(folder: Path) -> None:
    """Refuse to replace what this command did not write.

    Raises:
        UserError: naming the folder.
    """
    if not folder.exists():
        return
    config = folder / CONFIG
    if not config.is_file() or not config.read_text(encoding="utf-8", errors="replace").startswith(MADE_BY):
        raise UserError(f"{folder}: not written by this command, so it stays; choose another --out or --name.")


def describe_model(model: Path, name: str, max_batch: int, threads: int, device: str) -> str:
    """The text of `config.pbtxt` for an exported file.

    Raises:
        UserError: if the file cannot be used, or fixes the batch of a tensor.
    """
    segmenter = Segmenter(model, threads=1)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    parameters = {
        "intra_op_thread_count": str(threads),
        "classes": json.dumps(segmenter.classes, ensure_ascii=False),
        "colors": json.dumps(segmenter.colors),
    }
    parts = [
        f"{MADE_BY}. The model's commit: {segmenter.metadata.get('git_revision', 'unknown')}",
        f"name: {_quoted(name)}",
        'backend: "onnxruntime"',
        f"max_batch_size: {max_batch}",
        *_tensors("input", session.get_inputs()),
        *_tensors("output", session.get_outputs()),
        "# Requests of one size that wait at the same time run together; nothing waits for more to come.",
        "dynamic_batching { }",
        f"instance_group [ {{ count: 1 kind: KIND_{device.upper()} }} ]",
        *_parameters(parameters),
    ]
    return "\n".join(parts) + "\n"


def _tensors(kind: str, tensors: Iterable[Any]) -> list[str]:
    lines = []
    for tensor in tensors:
        batch, *rest = tensor.shape
        if isinstance(batch, int):
            raise UserError(f"the model's {kind} {tensor.name} has a batch of {batch}, but Triton needs a free one.")
        dims = ", ".join(str(size if isinstance(size, int) else -1) for size in rest)
        lines.append(
            f"{kind} [ {{ name: {_quoted(tensor.name)} data_type: {TYPES[tensor.type]} dims: [ {dims} ] }} ]",
        )
    return lines


def _parameters(values: Mapping[str, str]) -> list[str]:
    return [
        f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}"
        for key, value in values.items()
    ]


def _quoted(text: str) -> str:
    """A string of protobuf's text format, which reads JSON's escapes."""
    return json.dumps(text, ensure_ascii=False)


def _parse(arguments: Sequence[str]) -> Any:
    parser = argparse.ArgumentParser(
        prog="ucc triton",
        description="Write an exported model as a model repository of Triton Inference Server, which must be "
        "24.12 or newer: older ones may bring an onnxruntime that cannot read the file.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="the .onnx file that the stage `export` wrote")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("models/triton"),
        metavar="FOLDER",
        help="the repository; other models in it stay (default: %(default)s)",
    )
    parser.add_argument("--name", help="what the model is called (default: like its file)")
    parser.add_argument(
        "--max-batch", type=positive, default=8, metavar="N", help="pictures that run together (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=natural, default=0, metavar="N", help="of one picture on a CPU; 0 (default): all cores"
    )
    parser.add_argument(
        "--device", choices=DEVICES, default="auto", help="auto (default): on GPUs if the server sees any, else CPU"
    )
    return parser.parse_args(arguments)
