"""Checks on a partitioned data set with Great Expectations, before any time goes into training on it.

The checks run on three tables made from `ucc.data.facts`: `images` (one row a sample), `labeled` (those rows
of it that are labelled) and `classes` (one row a class). Great Expectations takes seconds to import, so only
the stage `validate` imports this module.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Read at import: no report of the run to anybody.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import great_expectations as gx
import pandas as pd
from great_expectations.core import ExpectationSuite, ExpectationValidationResult
from great_expectations.data_context.types.base import ProgressBarsConfig

# Its type hints do not export the expectations, its documentation does.
from great_expectations.expectations import (  # type: ignore[attr-defined]
    ExpectColumnPairValuesToBeEqual,
    ExpectColumnValuesToBeBetween,
    ExpectColumnValuesToBeNull,
    ExpectTableRowCountToBeBetween,
)
from great_expectations.expectations.expectation import Expectation

from ucc.config import ValidationParams
from ucc.data.dataset import DatasetInfo
from ucc.data.facts import MASKED_SUBSETS, image_facts, pixel_columns
from ucc.data.manifest import SUBSETS, Manifest
from ucc.data.validation_report import CheckResult, ValidationResult


@dataclass(frozen=True)
class Check:
    """One promise about a table: an error stops the pipeline, a warning is only reported.

    `expectation(**arguments)` is what Great Expectations evaluates on `table`; `offender` is a format string
    over the columns of that table, which names an offending row and what is wrong with it.
    """

    name: str
    promise: str
    severity: str
    table: str
    expectation: Callable[..., Expectation]
    arguments: Mapping[str, Any]
    offender: str
    remedy: str


def validate_dataset(dataset: Path, manifest: Manifest, params: ValidationParams) -> ValidationResult:
    """Read every image of the manifest and every mask it allows, and check them.

    Failed checks are part of the result.

    Raises:
        UserError: if dataset.yaml is missing or wrong.
        RuntimeError: if a check itself cannot be evaluated, which is a fault of this module.
    """
    info = DatasetInfo.read(dataset)
    facts = image_facts(dataset, manifest, info.num_classes)
    classes = class_table(facts, info.classes)
    tables = {"images": facts, "labeled": facts[facts["subset"] == "labeled"], "classes": classes}
    sizes = facts["image_size"].value_counts()
    return ValidationResult(
        dataset=info.name,
        manifest=manifest.hash,
        images={name: len(manifest.subset(name)) for name in SUBSETS},
        image_sizes={str(size): int(sizes[size]) for size in sorted(sizes.index)},
        checks=run_checks(dataset_checks(info, params), tables),
        class_shares={
            subset: dict(zip(classes["id"], classes[f"{subset}_share"].tolist(), strict=True))
            for subset in MASKED_SUBSETS
            if manifest.subset(subset)
        },
        labeled_images_per_class=dict(zip(classes["id"], classes["labeled_images"].tolist(), strict=True)),
        colors=info.colors,
    )


def class_table(facts: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """One row a class: id (its name), labeled_images (that show it), its share of each subset's pixels."""
    pixels = facts[pixel_columns(len(names))].fillna(0).astype("int64").set_axis(list(names), axis="columns")
    labeled = facts["subset"] == "labeled"
    table = pd.DataFrame({"id": list(names), "labeled_images": (pixels[labeled] > 0).sum().to_numpy()})
    for subset in MASKED_SUBSETS:
        total = pixels[facts["subset"] == subset].sum().to_numpy()
        table[f"{subset}_share"] = total / max(int(total.sum()), 1)
    return table


def dataset_checks(info: DatasetInfo, params: ValidationParams) -> list[Check]:
    """The checks, in the order of the report."""
    return [
        Check(
            "images_readable",
            "every image can be read",
            "error",
            "images",
            ExpectColumnValuesToBeNull,
            {"column": "image_error"},
            "{image}: {image_error}",
            "replace the files, or remove them with their masks",
        ),
        Check(
            "masks_readable",
            "every labelled, validation and test image has a mask that can be read",
            "error",
            "images",
            ExpectColumnValuesToBeNull,
            {"column": "mask_error"},
            "{image}: {mask_error}",
            "add or mend masks/<split>/<name>.png; images without masks belong in images/train",
        ),
        Check(
            "sizes_equal",
            "image and mask have the same size",
            "error",
            "images",
            ExpectColumnPairValuesToBeEqual,
            {"column_A": "image_size", "column_B": "mask_size", "ignore_row_if": "either_value_is_missing"},
            "{mask}: is {mask_size}, its image {image_size}",
            "bring the mask to the size of its image, with nearest-neighbour interpolation",
        ),
        Check(
            "mask_values",
            f"masks hold the classes 0..{info.num_classes - 1} or {info.ignore_index} (ignore)",
            "error",
            "images",
            ExpectColumnValuesToBeNull,
            {"column": "foreign_values"},
            "{mask}: holds {foreign_values}",
            f"list the missing classes in dataset.yaml, or set those pixels to {info.ignore_index}",
        ),
        Check(
            "ignore_share",
            f"at most {100 * params.max_ignore_share:g} % of a labelled mask is ignored",
            "error",
            "labeled",
            ExpectColumnValuesToBeBetween,
            {"column": "ignore_share", "max_value": params.max_ignore_share},
            "{mask}: {ignore_share:.1%} ignored",
            "label more of these images, or raise validation.max_ignore_share",
        ),
        Check(
            "min_labeled_images",
            f"at least {params.min_labeled_images} images are labelled",
            "error",
            "labeled",
            ExpectTableRowCountToBeBetween,
            {"min_value": params.min_labeled_images},
            "",
            "raise partition.ratio, or lower validation.min_labeled_images",
        ),
        Check(
            "subsets_disjoint",
            "no image stands in two subsets, by content",
            "error",
            "images",
            ExpectColumnValuesToBeNull,
            {"column": "twins_elsewhere"},
            "{image} ({subset}): same bytes as {twins_elsewhere}",
            "keep one of the copies",
        ),
        Check(
            "no_duplicates",
            "no image stands twice in a subset, by content",
            "warning",
            "images",
            ExpectColumnValuesToBeNull,
            {"column": "twins_within"},
            "{image} ({subset}): same bytes as {twins_within}",
            "keep one of the copies",
        ),
        Check(
            "classes_labeled",
            "every class is in the labelled set",
            "warning",
            "classes",
            ExpectColumnValuesToBeBetween,
            {"column": "labeled_images", "min_value": 1},
            "{id}: in no labelled mask",
            "raise partition.ratio, or list images that show it in partition.labeled_ids",
        ),
    ]


def run_checks(checks: Sequence[Check], tables: Mapping[str, pd.DataFrame]) -> list[CheckResult]:
    """Evaluate `checks`, one expectation suite a table; every table has a column `id` of unique texts.

    Raises:
        RuntimeError: if an expectation cannot be evaluated, for example because a column does not exist.
    """
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("facts")
    results: dict[str, CheckResult] = {}
    for name, table in tables.items():
        chosen = {check.name: check for check in checks if check.table == name}
        suite = ExpectationSuite(name=name)
        for check in chosen.values():
            suite.add_expectation(check.expectation(meta={"check": check.name}, **check.arguments))
        batch_definition = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        outcome = batch_definition.get_batch(batch_parameters={"dataframe": table}).validate(
            suite, result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["id"]}
        )
        for result in outcome.results:
            check = chosen[_check_name(result)]
            results[check.name] = _check_result(check, result, table)
    return [results[check.name] for check in checks]


def _check_name(result: ExpectationValidationResult) -> str:
    config = result.expectation_config
    assert config is not None, "a result always carries the expectation that it belongs to"
    return str(config.meta["check"])


def _check_result(check: Check, result: ExpectationValidationResult, table: pd.DataFrame) -> CheckResult:
    for error in _exceptions(result.exception_info or {}):
        raise RuntimeError(f"check {check.name} on table {check.table!r} cannot be evaluated: {error}")
    unexpected = {row["id"] for row in result.result.get("unexpected_index_list") or ()}
    rows = table[table["id"].isin(unexpected)].to_dict("records")
    return CheckResult(
        name=check.name,
        promise=check.promise,
        severity=check.severity,
        success=bool(result.success),
        offenders={row["id"]: check.offender.format_map(row) for row in rows},
        observed=result.result.get("observed_value"),
        remedy=check.remedy,
    )


def _exceptions(info: Mapping[str, Any]) -> Iterable[str]:
    # One entry when all went well, else one for each metric that could not be computed.
    entries = [info] if "raised_exception" in info else info.values()
    return [str(entry["exception_message"]) for entry in entries if entry["raised_exception"]]
