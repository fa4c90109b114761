"""UCC: semantic segmentation from few masks and many images, by uncertainty guided cross-head co-training."""

__version__ = "0.1.0"
