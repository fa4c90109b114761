"""An exported segmenter as an HTTP service: `ucc serve models/segmenter.onnx`. Needs no torch.

`server` listens, `app` puts the answers together: `pictures_api` for pictures, `open_inference` for tensors,
`telemetry` for Prometheus, `docs_page` for people. `bodies` and `slots` bound what one request, and all together, take.
"""
