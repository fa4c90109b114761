"""Which values of params.yaml go together: what is impossible only beside another one."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from ucc.config import PERTURBATIONS, PUBLISHED_RATIOS, SEVERITIES, Params, ratio_or_count
from ucc.errors import UserError


def check_relations(params: Params, where: str) -> None:
    """Check parameters each of which is possible by itself.

    Args:
        params: values that the schema allows.
        where: what they were read from, for messages.

    Raises:
        UserError: naming the keys and what is allowed.
    """

    def require(holds: bool, message: str) -> None:
        if not holds:
            raise UserError(f"{where}: {message}")

    _check_partition(params, where, require)
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
    _check_severity(params.validation.severity, require)
    _check_split(params, require)
    _check_combinations(params, require)
    train = params.train
    for key in ("batch_labeled", "batch_unlabeled"):
        batch, parts = getattr(train, key), train.devices * train.nodes * train.accumulation
        require(
            batch % parts == 0,
            f"train.{key} = {batch} is the batch over all devices: it must be a multiple of train.devices x nodes x "
            f"accumulation = {train.devices} x {train.nodes} x {train.accumulation} = {parts}.",
        )
        require(
            batch >= 2 * train.accumulation,
            f"train.accumulation = {train.accumulation} leaves one image of train.{key} = {batch} in a pass, and "
            "BatchNorm needs two.",
        )
    require(
        train.launcher == "torchrun" or train.max_restarts == 0,
        f"train.max_restarts = {train.max_restarts} is for train.launcher = torchrun, and {train.launcher} starts no "
        "process anew; set it to 0.",
    )
    ramp = train.supervised_warmup + train.unsup_rampup
    require(
        not _learns_from_unlabeled(params) or ramp < train.steps,
        f"train.supervised_warmup + train.unsup_rampup = {ramp} must be below train.steps = {train.steps}, or the "
        "unsupervised loss never reaches its full weight.",
    )


def _check_partition(params: Params, where: str, require: Callable[[bool, str], None]) -> None:
    partition = params.partition
    try:
        ratio = ratio_or_count(partition.ratio)
    except ValueError as error:
        raise UserError(f"{where}: partition.ratio = {partition.ratio!r}: {error}.") from error
    if partition.protocol == "random":
        require(
            partition.lists is None,
            f"partition.lists = {partition.lists} is read for partition.protocol = cps only; for lists of your own set "
            "partition.labeled_ids.",
        )
        return
    require(
        params.dataset.name in ("voc2012", "cityscapes"),
        f"partition.protocol = cps: its lists are of voc2012 and cityscapes, not of dataset.name = "
        f"{params.dataset.name}; set it to random.",
    )
    require(
        ratio in PUBLISHED_RATIOS,
        f"partition.ratio = {partition.ratio}: partition.protocol = cps has lists for "
        f"{', '.join(map(str, PUBLISHED_RATIOS))}.",
    )
    require(
        partition.labeled_ids is None and partition.unlabeled_ids is None,
        "partition.labeled_ids and unlabeled_ids must be null: partition.protocol = cps brings its own lists.",
    )


def _check_severity(severity: Mapping[str, str], require: Callable[[bool, str], None]) -> None:
    for check, level in severity.items():
        require(level in SEVERITIES, f"validation.severity.{check} = {level}: must be one of {', '.join(SEVERITIES)}.")
    require(
        severity.get("mask_values", "error") == "error",
        "validation.severity.mask_values = warning: nothing can be learnt from a mask that holds other values than "
        "classes; mend the masks, or turn the values to 255 (ignore).",
    )


def _check_split(params: Params, require: Callable[[bool, str], None]) -> None:
    """What has no split `test` must not be found out after the training."""
    if params.evaluate.split != "test":
        return
    require(
        params.dataset.name in ("camvid", "folder"),
        f"evaluate.split = test: dataset.name = {params.dataset.name} has no such split with masks; set it to val.",
    )
    require(
        params.partition.tuning_share is None,
        f"evaluate.split = test: with partition.tuning_share = {params.partition.tuning_share} part of the training "
        "images is measured on and test is left out; set the one to val or the other to null.",
    )


def _learns_from_unlabeled(params: Params) -> bool:
    return params.method.name != "supervised" and params.method.unsup_weight > 0


def _check_combinations(params: Params, require: Callable[[bool, str], None]) -> None:
    """Switches of the method that exclude each other."""
    method, partition = params.method, params.partition
    if _learns_from_unlabeled(params) and partition.labeled_ids is None:
        ratio = ratio_or_count(partition.ratio)
        # The count of one image, an int, is equal to the share of all of them.
        require(
            not (isinstance(ratio, Fraction) and ratio == 1),
            f"partition.ratio = {partition.ratio} leaves no unlabelled image, and method.name = {method.name} learns "
            "from them: lower it, or set method.name: supervised.",
        )
    if method.sharing == "cross_model":
        require(
            method.name in ("ucc", "cps", "gct"),
            f"method.sharing = cross_model: method.name = {method.name} has one network; set it to cross_head.",
        )
