"""What is promised about a data set, by aspect. An aspect is a suite of Great Expectations, evaluated on one table."""

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

# Read at import: no report of the run to anybody.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

# Its type hints do not export the expectations, its documentation does.
from great_expectations.expectations import (  # type: ignore[attr-defined]
    ExpectColumnPairValuesToBeEqual,
    ExpectColumnValuesToBeBetween,
    ExpectColumnValuesToBeNull,
    ExpectTableRowCountToBeBetween,
)
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.row_conditions import Column

from ucc.config import ValidationParams
from ucc.data.dataset import DatasetInfo
from ucc.errors import UserError

ASPECTS = ("files", "labels", "partition", "statistics")
_LABELED = Column("subset") == "labeled"
# What no mask shows is said once, by the check for that.
_SHOWN = Column("images") > 0
_DRIFT_OFFENDER = (
    "{id}: distance {distance:.2f} (p = {p_value:.2g}), "
    "mean {labeled_mean:.4g} of the labelled and {unlabeled_mean:.4g} of the unlabelled images"
)


@dataclass(frozen=True)
class Check:
    """One promise about the table of an aspect: an error stops the pipeline, a warning is only reported.

    `expectation(**arguments)` is what Great Expectations evaluates; `offender` is a format string over the columns
    of the table, which names an offending row and what is wrong with it.
    """

    name: str
    aspect: str
    promise: str
    severity: str
    expectation: Callable[..., Expectation]
    arguments: Mapping[str, Any]
    offender: str
    remedy: str


def dataset_checks(info: DatasetInfo, params: ValidationParams) -> list[Check]:
    """The checks, in the order of the report, as severe as `validation.severity` says.

    Raises:
        UserError: if that names a check that does not exist.
    """
    checks = [
        *_file_checks(),
        *_label_checks(info, params),
        *_partition_checks(params),
        *_statistics_checks(params),
    ]
    known = [check.name for check in checks]
    for name in params.severity:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UserError(f"validation.severity: unknown check {name}; {hint}The checks are {', '.join(known)}.")
    return [replace(check, severity=params.severity.get(check.name, check.severity)) for check in checks]


def _file_checks() -> list[Check]:
    return [
        Check(
            "images_readable",
            "files",
            "every image can be read",
            "error",
            ExpectColumnValuesToBeNull,
            {"column": "image_error"},
            "{image}: {image_error}",
            "replace the files, or remove them with their masks",
        ),
        Check(
            "masks_readable",
            "files",
            "every labelled, validation and test image has a mask that can be read",
            "error",
            ExpectColumnValuesToBeNull,
            {"column": "mask_error"},
            "{image}: {mask_error}",
            "add or mend masks/<split>/<name>.png; images without masks belong in images/train",
        ),
        Check(
            "sizes_equal",
            "files",
            "image and mask have the same size",
            "error",
            ExpectColumnPairValuesToBeEqual,
            {"column_A": "image_size", "column_B": "mask_size", "ignore_row_if": "either_value_is_missing"},
            "{mask}: is {mask_size}, its image {image_size}",
            "bring the mask to the size of its image, with nearest-neighbour interpolation",
        ),
    ]


def _label_checks(info: DatasetInfo, params: ValidationParams) -> list[Check]:
    return [
        Check(
            "mask_values",
            "labels",
            f"masks hold the classes 0..{info.num_classes - 1} or {info.ignore_index} (ignore)",
            "error",
            ExpectColumnValuesToBeNull,
            {"column": "foreign_values"},
            "{mask}: holds {foreign_values}",
            f"list the missing classes in dataset.yaml, or set those pixels to {info.ignore_index}",
        ),
        Check(
            "ignore_share",
            "labels",
            f"at most {100 * params.max_ignore_share:g} % of a labelled mask is ignored",
            "error",
            ExpectColumnValuesToBeBetween,
            {"column": "ignore_share", "max_value": params.max_ignore_share, "row_condition": _LABELED},
            "{mask}: {ignore_share:.1%} ignored",
            "label more of these images, or raise validation.max_ignore_share",
        ),
    ]


def _partition_checks(params: ValidationParams) -> list[Check]:
    return [
        Check(
            "min_labeled_images",
            "partition",
            f"at least {params.min_labeled_images} images are labelled",
            "error",
            ExpectTableRowCountToBeBetween,
            {"min_value": params.min_labeled_images, "row_condition": _LABELED},
            "",
            "raise partition.ratio, or lower validation.min_labeled_images; where the ratio is null, draw masks for "
            "more training images, or lower dataset.folder.val",
        ),
        Check(
            "subsets_disjoint",
            "partition",
            "no picture stands in two of training, validation and test, however it is encoded",
            "error",
            ExpectColumnValuesToBeNull,
            {"column": "twins_elsewhere"},
            "{image} ({subset}): same picture as {twins_elsewhere}",
            "keep one of the copies",
        ),
        Check(
            "no_duplicates",
            "partition",
            "no picture stands twice in training, in validation or in test",
            "warning",
            ExpectColumnValuesToBeNull,
            {"column": "twins_within"},
            "{image} ({subset}): same picture as {twins_within}",
            "keep one of the copies",
        ),
        Check(
            "near_duplicates",
            "partition",
            "no validation or test image looks like a training image",
            "warning",
            ExpectColumnValuesToBeNull,
            {"column": "near_twins"},
            "{image} ({subset}): looks like {near_twins}",
            "look at the pairs; where they show one scene, leave one of the two out, or scores flatter",
        ),
    ]


def _statistics_checks(params: ValidationParams) -> list[Check]:
    return [
        Check(
            "classes_in_masks",
            "statistics",
            "every class is in some mask",
            "error",
            ExpectColumnValuesToBeBetween,
            {"column": "images", "min_value": 1},
            "{id}: in no mask of any labelled, validation or test image",
            "see whether the classes are one too many, or one under another value than in the masks; label images that "
            "show it (partition.ratio, partition.labeled_ids), or set validation.severity: {classes_in_masks: warning}",
        ),
        Check(
            "classes_labeled",
            "statistics",
            f"every class that masks show is in at least {params.min_images_per_class} labelled image(s)",
            "warning",
            ExpectColumnValuesToBeBetween,
            {"column": "labeled_images", "min_value": params.min_images_per_class, "row_condition": _SHOWN},
            "{id}: in {labeled_images:.0f} labelled image(s)",
            "raise partition.ratio, or list images that show it in partition.labeled_ids; where the ratio is null, "
            "draw masks for more training images that show it, or lower dataset.folder.val",
        ),
        Check(
            "classes_measured",
            "statistics",
            "every class that masks show is in some validation mask",
            "warning",
            ExpectColumnValuesToBeBetween,
            {"column": "val_images", "min_value": 1, "row_condition": _SHOWN},
            "{id}: in no validation mask, so its IoU cannot be measured",
            "add images that show it to images/val and masks/val; where dataset.folder.val is a share or a list, raise "
            "the share or list such images",
        ),
        Check(
            "drift",
            "statistics",
            f"labelled images are distributed like unlabelled ones, up to a distance of {params.max_drift:g}",
            "warning",
            ExpectColumnValuesToBeBetween,
            {"column": "counted_drift", "max_value": params.max_drift},
            _DRIFT_OFFENDER,
            "label images at random, keep method.copy_paste.mode other than none, or raise validation.max_drift",
        ),
    ]
