"""An exported segmenter as an HTTP service: `python -m ucc.serve models/segmenter.onnx`. Needs no torch."""
