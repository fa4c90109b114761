"""Typed schema of params.yaml. Every key is a field here with what it allows; `ucc.params` reads the file by it."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

DATASETS = ("streets", "camvid", "voc2012", "cityscapes", "folder")
PROTOCOLS = ("random", "cps")
# Labelled shares of the published partitions (Chen et al. 2021).
PUBLISHED_RATIOS = (Fraction(1, 16), Fraction(1, 8), Fraction(1, 4), Fraction(1, 2))
SEVERITIES = ("error", "warning")
BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101", "mobilenet_v2", "mobilenet_v3_large")
METHODS = ("supervised", "mean_teacher", "cct", "gct", "cps", "ucc")
# Far beyond every rate that trains, and far below what float32 holds, also with the rates multiplied.
HIGHEST_RATE = 1000
PERTURBATIONS = (
    "feature_noise",
    "feature_drop",
    "spatial_dropout",
    "object_masking",
    "context_masking",
    "guided_cutout",
    "virtual_adversarial",
)


def choice(*allowed: str) -> Any:
    """A string field that takes one of `allowed`."""
    return field(metadata={"allowed": allowed})


def number(
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    multiple: int | None = None,
) -> Any:
    """A number, or list of numbers, with inclusive bounds `low`, `high`, and an exclusive one `above`."""
    return field(metadata={"low": low, "high": high, "above": above, "multiple": multiple})


@dataclass(kw_only=True)
class StreetsParams:
    """Size and seed of the embedded, procedurally drawn data set."""

    train_images: int = number(low=1)
    val_images: int = number(low=1)
    height: int = number(low=32)
    width: int = number(low=32)
    seed: int = number(low=0)


@dataclass(kw_only=True)
class FolderParams:
    """Where a user's folder keeps images and masks, and what the masks mean; `ucc.data.sources.folder` reads it."""

    images: str
    masks: str
    image_suffix: str
    mask_suffix: str
    val: Any
    mask_format: str = choice("auto", "index", "color")
    classes: Any
    ignore: Any


@dataclass(kw_only=True)
class DatasetParams:
    """Where the images come from."""

    name: str = choice(*DATASETS)
    root: str | None
    max_side: int | None = number(low=16)
    streets: StreetsParams
    folder: FolderParams


@dataclass(kw_only=True)
class PartitionParams:
    """Which training images keep their masks."""

    protocol: str = choice(*PROTOCOLS)
    lists: str | None
    ratio: Any
    seed: int = number(low=0)
    labeled_ids: str | None
    unlabeled_ids: str | None
    tuning_share: float | None = number(above=0, high=0.5)


@dataclass(kw_only=True)
class ValidationParams:
    """What `validate` lets pass."""

    min_labeled_images: int = number(low=1)
    min_images_per_class: int = number(low=1)
    max_ignore_share: float = number(low=0, high=1)
    near_duplicate_bits: int | None = number(low=0, high=16)
    max_drift: float = number(low=0, high=1)
    severity: dict[str, str]


@dataclass(kw_only=True)
class ModelParams:
    """Encoder and heads."""

    backbone: str = choice(*BACKBONES)
    weights: str
    output_stride: int = field(metadata={"allowed": (8, 16, 32)})
    head: str = choice("dense", "separable")
    head_width: int = number(low=8)
    dropout: float = number(low=0, high=0.99)


@dataclass(kw_only=True)
class ViewsParams:
    """Augmentation: the weak view (geometry) and the strong one (photometry and dropout)."""

    crop: list[int] = number(low=16, multiple=16)
    flip_probability: float = number(low=0, high=1)
    scale_probability: float = number(low=0, high=1)
    scale_range: list[float] = number(above=0, high=16)
    strong_operations: list[int] = number(low=0)
    strong_strength: float = number(low=0, high=1)
    strong_per_head: bool
    photometric_first: bool


@dataclass(kw_only=True)
class CopyPasteParams:
    """DCSCP, Eqs. 5-6."""

    mode: str = choice("none", "cp", "dcp", "cscp", "dcscp")
    probability: float = number(low=0, high=1)
    ema_decay: float = number(low=0, high=1)


@dataclass(kw_only=True)
class UncertaintyParams:
    """UGRM, Eqs. 7-12."""

    rule: str = choice("none", "confident_teacher", "as_printed")
    normalize: str = choice("weights", "pixels")


@dataclass(kw_only=True)
class OhemParams:
    """Online hard example mining in the labelled loss."""

    enabled: bool
    threshold: float = number(low=0, high=1)
    min_kept: int = number(low=1)


@dataclass(kw_only=True)
class MeanTeacherParams:
    """The moving average that is the teacher."""

    ema_decay: float = number(low=0, high=1)


@dataclass(kw_only=True)
class CctParams:
    """One auxiliary decoder for each perturbation of the features."""

    perturbations: list[str] = field(metadata={"allowed": PERTURBATIONS})


@dataclass(kw_only=True)
class GctParams:
    """What the flaw detector decides."""

    flaw_threshold: float = number(low=0, high=1)
    correction_weight: float = number(low=0)


@dataclass(kw_only=True)
class MethodParams:
    """Which method trains the segmenter, and its switches."""

    name: str = choice(*METHODS)
    unsup_weight: float = number(low=0, high=1e6)
    sharing: str = choice("cross_head", "cross_model")
    views: str = choice("none", "strong", "weak", "weak_strong")
    teacher_batchnorm: str = choice("batch", "running")
    unlabeled_batchnorm: str = choice("joint", "separate", "untracked")
    copy_paste: CopyPasteParams
    uncertainty: UncertaintyParams
    mean_teacher: MeanTeacherParams
    cct: CctParams
    gct: GctParams
    ohem: OhemParams


@dataclass(kw_only=True)
class TrainParams:
    """Optimisation, schedule and devices."""

    seed: int = number(low=0)
    steps: int = number(low=1)
    supervised_warmup: int = number(low=0)
    unsup_rampup: int = number(low=0)
    batch_labeled: int = number(low=2)
    batch_unlabeled: int = number(low=2)
    lr: float = number(above=0, high=HIGHEST_RATE)
    head_lr_multiplier: float = number(above=0, high=HIGHEST_RATE)
    momentum: float = number(low=0, high=1)
    weight_decay: float = number(low=0, high=HIGHEST_RATE)
    poly_power: float = number(low=0)
    log_every: int = number(low=1)
    val_every: int = number(low=1)
    checkpoint_every: int = number(low=1)
    workers: int = number(low=0)
    accelerator: str = choice("auto", "cpu", "cuda")
    devices: int = number(low=1)
    nodes: int = number(low=1)
    launcher: str = choice("torchrun", "fabric")
    max_restarts: int = number(low=0)
    precision: str = choice("32-true", "bf16-mixed", "16-mixed")
    accumulation: int = number(low=1)


@dataclass(kw_only=True)
class EvaluateParams:
    """Which checkpoint is measured, on which images, and how."""

    checkpoint: str = choice("final", "best")
    split: str = choice("val", "test")
    sliding_window: bool
    window: list[int] = number(low=16, multiple=16)
    stride: list[int] = number(low=1)
    panels: int = number(low=0)
    pseudo_label_images: int = number(low=0)


@dataclass(kw_only=True)
class QuantizeParams:
    """The ONNX file in 8 bits, and how much worse it may be."""

    enabled: bool
    calibration_images: int = number(low=1)
    max_miou_drop: float = number(low=0, high=100)


@dataclass(kw_only=True)
class ExportParams:
    """The ONNX file, how far it may differ from torch, and its quantised twin."""

    opset: int = number(low=18)
    parity_images: int = number(low=1)
    max_disagreement: float = number(low=0, high=1)
    max_uncertainty_error: float = number(low=0, high=1)
    quantize: QuantizeParams


@dataclass(kw_only=True)
class Params:
    """The whole of params.yaml."""

    dataset: DatasetParams
    partition: PartitionParams
    validation: ValidationParams
    model: ModelParams
    views: ViewsParams
    method: MethodParams
    train: TrainParams
    evaluate: EvaluateParams
    export: ExportParams


def ratio_or_count(value: Any) -> Fraction | int | None:
    """`partition.ratio` as a fraction in (0, 1], a count of images, or None for every image that has a mask.

    Raises:
        ValueError: saying what is allowed.
    """
    allowed = "must be a fraction such as 1/16 or 0.25 (above 0, at most 1), a count of images (1, 2, ...), or null"
    if value is None:
        return None
    if isinstance(value, bool):
        raise ValueError(allowed)
    if isinstance(value, int):
        if value < 1:
            raise ValueError(allowed)
        return value
    try:
        fraction = Fraction(str(value).replace(" ", ""))
    except (ValueError, ZeroDivisionError):
        raise ValueError(allowed) from None
    if not 0 < fraction <= 1:
        raise ValueError(allowed)
    return fraction
