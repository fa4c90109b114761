"""From a data set and its manifest to a `ValidationResult`."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ucc.config import ValidationParams
from ucc.data.dataset import DatasetInfo
from ucc.data.manifest import SUBSETS, Manifest
from ucc.data.validation.checks import dataset_checks
from ucc.data.validation.classes import class_table
from ucc.data.validation.drift import Drift, measure_drift
from ucc.data.validation.duplicates import near_twin_texts, near_twins
from ucc.data.validation.expectations import run_checks
from ucc.data.validation.facts import MASKED_SUBSETS, image_facts
from ucc.data.validation.result import ValidationResult


def validate_dataset(
    dataset: Path, manifest: Manifest, params: ValidationParams, docs: Path | None = None
) -> ValidationResult:
    """Read every image of the manifest and every mask it allows, and check them.

    Failed checks are part of the result. Data Docs of Great Expectations replace the folder `docs`.

    Raises:
        UserError: if dataset.yaml is missing or wrong, or validation.severity names no check.
        RuntimeError: if a check itself cannot be evaluated, which is a fault of this package.
    """
    info = DatasetInfo.read(dataset)
    checks = dataset_checks(info, params)
    facts = image_facts(dataset, manifest, info.num_classes)
    near = params.near_duplicate_bits
    pairs = None if near is None else near_twins(facts, near)
    facts["near_twins"] = near_twin_texts(facts, pairs or [])
    classes, drift = class_table(facts, info.classes), measure_drift(facts)
    tables = dict.fromkeys(("files", "labels", "partition"), facts)
    tables["statistics"] = statistics_table(classes, drift)
    sizes = facts["image_size"].value_counts()
    masked = [subset for subset in MASKED_SUBSETS if manifest.subset(subset)]
    return ValidationResult(
        dataset=info.name,
        manifest=manifest.hash,
        images={name: len(manifest.subset(name)) for name in SUBSETS},
        image_sizes={str(size): int(sizes[size]) for size in sorted(sizes.index)},
        checks=run_checks(checks, tables, docs),
        class_shares={s: dict(zip(classes["id"], classes[f"{s}_share"].tolist(), strict=True)) for s in masked},
        class_images={s: dict(zip(classes["id"], classes[f"{s}_images"].tolist(), strict=True)) for s in masked},
        drift=drift,
        near_duplicates=pairs,
    )


def statistics_table(classes: pd.DataFrame, drift: Sequence[Drift]) -> pd.DataFrame:
    """The classes, then the drift figures, each row with the cells of its kind; ids of the latter say what they are."""
    figures = [
        {
            "id": f"drift of {figure.statistic}",
            "counted_drift": figure.counted,
            "distance": figure.distance,
            "p_value": figure.p_value,
            "labeled_mean": figure.labeled_mean,
            "unlabeled_mean": figure.unlabeled_mean,
        }
        for figure in drift
    ]
    columns = ["id", "counted_drift", "distance", "p_value", "labeled_mean", "unlabeled_mean"]
    kinds = dict.fromkeys(columns[1:], "float64")
    return pd.concat([classes, pd.DataFrame(figures, columns=columns).astype(kinds)], ignore_index=True)
