"""Typed schema of params.yaml, and the one function that reads it.

Every key of params.yaml is a field here and every field must be in params.yaml: that file is the truth, no
value hides in code. A key that does not exist, a wrong type or an impossible value is a `UserError` naming
the key and what is allowed.
"""

import dataclasses
import difflib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ucc.errors import UserError

BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101", "mobilenet_v2", "mobilenet_v3_large")
METHODS = ("supervised", "mean_teacher", "cct", "gct", "cps", "ucc")
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
class DatasetParams:
    """Where the images come from."""

    name: str = choice("streets", "camvid", "folder")
    root: str | None
    max_side: int | None = number(low=16)
    streets: StreetsParams


@dataclass(kw_only=True)
class PartitionParams:
    """Which training images keep their masks."""

    ratio: Any
    seed: int = number(low=0)
    labeled_ids: str | None
    unlabeled_ids: str | None
    tuning_share: float | None = number(above=0, high=0.5)


@dataclass(kw_only=True)
class ValidationParams:
    """What `validate` lets pass."""

    min_labeled_images: int = number(low=1)
    max_ignore_share: float = number(low=0, high=1)


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
    scale_range: list[float] = number(above=0)
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
    unsup_weight: float = number(low=0)
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
    lr: float = number(above=0)
    head_lr_multiplier: float = number(above=0)
    momentum: float = number(low=0, high=1)
    weight_decay: float = number(low=0)
    poly_power: float = number(low=0)
    log_every: int = number(low=1)
    val_every: int = number(low=1)
    checkpoint_every: int = number(low=1)
    workers: int = number(low=0)
    accelerator: str = choice("auto", "cpu", "cuda")
    precision: str = choice("32-true", "bf16-mixed", "16-mixed")


@dataclass(kw_only=True)
class EvaluateParams:
    """Which checkpoint is measured, and how."""

    checkpoint: str = choice("final", "best")
    sliding_window: bool
    window: list[int] = number(low=16, multiple=16)
    stride: list[int] = number(low=1)
    panels: int = number(low=0)
    pseudo_label_images: int = number(low=0)


@dataclass(kw_only=True)
class ExportParams:
    """The ONNX file, and how far it may differ from torch."""

    opset: int = number(low=18)
    parity_images: int = number(low=1)
    max_disagreement: float = number(low=0, high=1)
    max_uncertainty_error: float = number(low=0, high=1)


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


def load_params(path: Path = Path("params.yaml"), overrides: Sequence[str] = ()) -> Params:
    """Read and check params.yaml.

    `overrides` are Hydra's (`train.steps=10`). They are refused inside a DVC stage, where they would make the
    result differ from what dvc.lock records.

    Raises:
        UserError: naming the key and what is allowed.
    """
    if overrides and os.environ.get("DVC_STAGE"):
        raise UserError(
            f"{' '.join(overrides)}: overrides are refused inside a DVC stage, because dvc.lock would not "
            "record them. Edit params.yaml, or use `dvc exp run -S key=value`."
        )
    raw = _read(path, overrides)
    where = " ".join([str(path), *(["with"] if overrides else []), *overrides])
    schema = OmegaConf.structured(Params)
    _check_keys(raw, Params, "", where)
    try:
        params = cast(Params, OmegaConf.to_object(OmegaConf.merge(schema, raw)))
    except OmegaConfBaseException as error:
        key = str(error.full_key).partition("[")[0]
        raise UserError(f"{where}: {key} = {OmegaConf.select(raw, key)!r}: must be {_expected(key)}.") from error
    _check_values(params, "", where)
    _check_relations(params, where)
    return params


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


def _read(path: Path, overrides: Sequence[str]) -> DictConfig:
    if not path.is_file():
        raise UserError(f"{path}: no such file. Run from the project's root, or copy one of presets/*.yaml to it.")
    if "${" in path.read_text(encoding="utf-8"):
        raise UserError(f"{path}: '${{...}}' is not allowed; write the value itself, so that DVC sees it.")
    # Hydra's own complaint about an unknown key does not say where it is; added by force, `_check_keys` does.
    forced = [o if o.startswith(("+", "~")) else f"++{o}" for o in overrides]
    try:
        with initialize_config_dir(str(path.resolve().parent), version_base="1.3"):
            return compose(config_name=path.stem, overrides=forced)
    except OverrideParseException as error:
        raise UserError(
            f"{error.override.removeprefix('++')}: cannot be read; write overrides as key=value."
        ) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"{path}: {str(error).splitlines()[0]}") from error
    except Exception as error:  # PyYAML raises a family of its own, of which Hydra wraps only part
        if type(error).__module__.startswith("yaml"):
            raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
        raise


def _check_keys(config: Any, schema: type, prefix: str, where: str) -> None:
    known = {f.name: f for f in dataclasses.fields(schema)}
    if not isinstance(config, DictConfig):
        raise UserError(f"{where}: {prefix.rstrip('.')} must be a section with the keys {', '.join(known)}.")
    for key in map(str, config):
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known keys here: {', '.join(known)}."
            raise UserError(f"{where}: unknown key {prefix}{key}; {hint}")
    for name, spec in known.items():
        if name not in config:
            raise UserError(
                f"{where}: missing key {prefix}{name}. Add it; presets/*.yaml show every key and its meaning."
            )
        if dataclasses.is_dataclass(spec.type):
            _check_keys(config[name], cast(type, spec.type), f"{prefix}{name}.", where)


def _expected(key: str) -> str:
    """What the schema allows at `key`, in words."""
    kind: Any = Params
    for part in key.split("."):
        kind = {f.name: f.type for f in dataclasses.fields(kind)}[part]
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        str | None: "text or null",
        int | None: "a whole number or null",
        float | None: "a number or null",
        list[int]: "a list of whole numbers",
        list[float]: "a list of numbers",
        list[str]: "a list of names",
    }
    return words[kind]


def _check_values(section: Any, prefix: str, where: str) -> None:
    for spec in dataclasses.fields(section):
        value, key = getattr(section, spec.name), f"{prefix}{spec.name}"
        if dataclasses.is_dataclass(value):
            _check_values(value, f"{key}.", where)
            continue
        if value is None:
            continue  # the type has let it pass
        for item in value if isinstance(value, list) else [value]:
            problem = _problem(item, spec.metadata)
            if problem:
                raise UserError(f"{where}: {key} = {value!r}: {problem}.")


def _problem(value: Any, allowed: Any) -> str | None:
    if "allowed" in allowed:
        options = allowed["allowed"]
        return None if value in options else f"must be one of {', '.join(map(str, options))}"
    if "low" not in allowed:
        return None
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "must be a finite number"
    if allowed["low"] is not None and value < allowed["low"]:
        return f"must be at least {allowed['low']}"
    if allowed["high"] is not None and value > allowed["high"]:
        return f"must be at most {allowed['high']}"
    if allowed["above"] is not None and value <= allowed["above"]:
        return f"must be above {allowed['above']}"
    if allowed["multiple"] is not None and value % allowed["multiple"]:
        return f"must be a multiple of {allowed['multiple']}"
    return None


def _check_relations(params: Params, where: str) -> None:
    def require(holds: bool, message: str) -> None:
        if not holds:
            raise UserError(f"{where}: {message}")

    try:
        ratio_or_count(params.partition.ratio)
    except ValueError as error:
        raise UserError(f"{where}: partition.ratio = {params.partition.ratio!r}: {error}.") from error
    sizes = {
        "views.crop": params.views.crop,
        "evaluate.window": params.evaluate.window,
        "evaluate.stride": params.evaluate.stride,
    }
    for key, size in sizes.items():
        require(len(size) == 2, f"{key} = {size}: must be two numbers, [height, width].")
    spans: dict[str, Sequence[float]] = {
        "views.scale_range": params.views.scale_range,
        "views.strong_operations": params.views.strong_operations,
    }
    for key, span in spans.items():
        ordered = len(span) == 2 and span[0] <= span[1]
        require(ordered, f"{key} = {span}: must be two numbers, [lowest, highest].")
    require(
        all(s <= w for s, w in zip(params.evaluate.stride, params.evaluate.window, strict=True)),
        "evaluate.stride must not exceed evaluate.window, or parts of the image would go unseen.",
    )
    require(
        bool(params.method.cct.perturbations),
        f"method.cct.perturbations is empty: each auxiliary decoder needs one of {', '.join(PERTURBATIONS)}.",
    )
    _check_combinations(params, require)
    train = params.train
    ramp = train.supervised_warmup + train.unsup_rampup
    require(
        ramp <= train.steps,
        f"train.supervised_warmup + train.unsup_rampup = {ramp} exceeds train.steps = {train.steps}: the "
        "unsupervised loss would never reach its full weight.",
    )


def _check_combinations(params: Params, require: Callable[[bool, str], None]) -> None:
    """Switches of the method that exclude each other."""
    method = params.method
    if method.name == "ucc" and method.copy_paste.mode != "none":
        require(
            params.train.batch_labeled > 1,
            f"method.copy_paste.mode = {method.copy_paste.mode} pastes from one labelled image into another: "
            "train.batch_labeled must be at least 2.",
        )
    if method.sharing == "cross_model":
        require(
            method.name in ("ucc", "cps", "gct"),
            f"method.sharing = cross_model: method.name = {method.name} has one network; set it to cross_head.",
        )
