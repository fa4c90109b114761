"""UCC: semantic segmentation from few masks and many images, by uncertainty guided cross-head co-training."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ucc.segmenter import Segmenter

__all__ = ["Segmenter", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`ucc.Segmenter`, imported when it is asked for: `import ucc` loads nothing heavy."""
    if name == "Segmenter":
        from ucc.segmenter import Segmenter

        return Segmenter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
