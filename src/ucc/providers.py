"""What an exported segmenter is computed with: onnxruntime's execution providers, CUDA, TensorRT, CoreML and others.

The package `onnxruntime` brings the CPU's; `onnxruntime-gpu` in its place brings those of NVIDIA, too.
"""

from collections.abc import Sequence
from pathlib import Path

import onnxruntime

from ucc.errors import UserError

CPU = "CPUExecutionProvider"
SUFFIX = "ExecutionProvider"
_OF_GPU = ("cuda", "tensorrt")
# By default CUDA's provider may try out algorithms for each new size of image, which takes longer than the network.
_SETTINGS = {"CUDAExecutionProvider": {"cudnn_conv_algo_search": "HEURISTIC"}}


def short_name(provider: str) -> str:
    """`cuda` for `CUDAExecutionProvider`."""
    return provider.strip().removesuffix(SUFFIX).lower()


def find_providers(names: Sequence[str]) -> list[str]:
    """onnxruntime's own names of the providers, which may be named in short, too: `cuda`.

    The CPU's is the last: it can compute everything, so that those behind it would have nothing to do.

    Raises:
        UserError: if this onnxruntime has no such provider.
    """
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"providers {names!r}: must be a list of names.")
    available = {short_name(provider): provider for provider in onnxruntime.get_available_providers()}
    found = []
    for name in map(short_name, names):
        if name not in available:
            remedy = (
                " `pip uninstall onnxruntime` and `pip install onnxruntime-gpu` bring it." if name in _OF_GPU else ""
            )
            raise UserError(f"provider {name!r}: the onnxruntime that is installed has {', '.join(available)}.{remedy}")
        found.append(available[name])
    before_cpu = found[: found.index(CPU)] if CPU in found else found
    return [*dict.fromkeys(before_cpu), CPU]


def open_session(
    path: Path, options: onnxruntime.SessionOptions, providers: Sequence[str]
) -> onnxruntime.InferenceSession:
    """A session in which the first of the providers (`find_providers`) computes what it can, then the next.

    Raises:
        UserError: if onnxruntime cannot load the file, or goes on without one of the providers, as it does in silence
            where a library of its is missing.
    """
    given = [(provider, _SETTINGS.get(provider, {})) for provider in providers]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=given, enable_fallback=0)
    except Exception as error:  # onnxruntime's errors have no base class of their own
        raise UserError(f"{path}: onnxruntime cannot load it ({' '.join(str(error).split())}).") from error
    if missing := set(providers) - set(session.get_providers()):
        raise UserError(
            f"provider {', '.join(sorted(map(short_name, missing)))}: onnxruntime could not start it, for the reason "
            "above; often a driver or a library is missing or of a version that it was not built for."
        )
    return session
