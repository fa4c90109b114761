"""Training methods, one file each; all share trainer, data, encoder, heads and schedule."""

from ucc.config import Params
from ucc.methods.base import Method, StepLosses
from ucc.methods.cct import CCT
from ucc.methods.cps import CPS
from ucc.methods.gct import GCT
from ucc.methods.mean_teacher import MeanTeacher
from ucc.methods.supervised import Supervised
from ucc.methods.ucc import UCC

_METHODS: dict[str, type[Method]] = {
    "supervised": Supervised,
    "mean_teacher": MeanTeacher,
    "cct": CCT,
    "gct": GCT,
    "cps": CPS,
    "ucc": UCC,
}


def method_class(params: Params) -> type[Method]:
    """The class of the method named by `method.name`."""
    return _METHODS[params.method.name]


def build_method(params: Params, num_classes: int) -> Method:
    """The method named by `method.name`, with a freshly initialised segmenter."""
    return method_class(params).build(params, num_classes)


__all__ = ["Method", "StepLosses", "build_method", "method_class"]
