"""Encoders, heads, and the segmenter that they make up."""

from ucc.models.segmenter import Segmenter, build_segmenter

__all__ = ["Segmenter", "build_segmenter"]
