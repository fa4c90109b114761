"""The page for people: one self-contained HTML file, with no script, no network and no time stamp."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from ucc.data.dataset import DatasetInfo
from ucc.data.manifest import SUBSETS, Manifest
from ucc.data.validation.charts import class_chart, drift_chart, is_logarithmic
from ucc.data.validation.layout import PAGE, SUBSET_COLORS, SUBSET_NAMES
from ucc.data.validation.result import CheckResult, ValidationResult
from ucc.data.validation.thumbnails import SHOWN_PAIRS, contact_sheet, pair_figures
from ucc.files import write_text

# The JSON file names all.
LISTED_OFFENDERS = 500
LISTED_SIZES = 30


def write_page(result: ValidationResult, dataset: Path, manifest: Manifest, path: Path) -> None:
    """Write the page atomically; it shows some of the images of `manifest`, whose paths are relative to `dataset`."""
    write_text(path, validation_page(result, dataset, manifest))


def validation_page(result: ValidationResult, dataset: Path, manifest: Manifest) -> str:
    """The HTML page: summary, checks by aspect, classes, drift, near duplicates, samples, image sizes."""
    info = DatasetInfo.read(dataset)
    images = ", ".join(f"{count} {SUBSET_NAMES[name]}" for name, count in result.images.items() if count)
    labeled_images = result.class_images.get("labeled") or dict.fromkeys(info.classes, 0)
    return PAGE.substitute(
        dataset=escape(result.dataset),
        manifest=escape(result.manifest),
        verdict="failed" if result.failures else "passed",
        summary=f"{len(result.checks)} checks: {sum(check.success for check in result.checks)} passed, "
        f"{len(result.failures)} failed, {len(result.warnings)} with warnings. {images} images.",
        colors="\n".join(f".{name} {{ fill: {color}; }}" for name, color in SUBSET_COLORS.items()),
        checks="\n".join(_aspect_rows(name, list(own)) for name, own in groupby(result.checks, lambda c: c.aspect)),
        scale="logarithmic" if is_logarithmic(result.class_shares) else "linear",
        share_key=_key({SUBSET_NAMES[name]: SUBSET_COLORS[name] for name in result.class_shares}),
        class_chart=class_chart(result.class_shares, labeled_images, info.colors),
        class_table=_class_table(result, info),
        drift=_drift_section(result),
        near_duplicates=_near_section(result, dataset),
        class_key=_key({name: f"rgb{color}" for name, color in zip(info.classes, info.colors, strict=True)}),
        samples=_samples(result, dataset, manifest, info),
        sizes=_size_table(result),
    )


def _aspect_rows(aspect: str, checks: Sequence[CheckResult]) -> str:
    rows = "\n".join(map(_check_row, checks))
    return f'<tbody><tr class="aspect"><th colspan="3">{escape(aspect)}</th></tr>\n{rows}</tbody>'


def _check_row(check: CheckResult) -> str:
    status = "pass" if check.success else {"error": "fail", "warning": "warn"}[check.severity]
    found = "" if check.observed is None else f"found {check.observed}"
    if check.offenders:
        texts = list(check.offenders.values())
        if len(texts) > LISTED_OFFENDERS:
            texts[LISTED_OFFENDERS:] = [f"and {len(texts) - LISTED_OFFENDERS} more, see the JSON file"]
        items = "".join(f"<li>{escape(text)}</li>" for text in texts)
        found += f"<details open><summary>{len(check.offenders)} found</summary><ul>{items}</ul></details>"
    if not check.success:
        found += f"<p>Remedy: {escape(check.remedy)}.</p>"
    return (
        f'<tr><td><span class="{status}">{status}</span></td>'
        f"<td>{escape(check.promise)}<br><code>{escape(check.name)}</code></td><td>{found}</td></tr>"
    )


def _class_table(result: ValidationResult, info: DatasetInfo) -> str:
    subsets = list(result.class_shares)
    header = ["Class"]
    for subset in subsets:
        header += [f"Pixels, {SUBSET_NAMES[subset]}", f"Images, {SUBSET_NAMES[subset]}"]
    rows = []
    for name in info.classes:
        row = [escape(name)]
        for subset in subsets:
            row += [f"{result.class_shares[subset][name]:.2%}", str(result.class_images[subset][name])]
        rows.append(row)
    return _table(header, rows)


def _drift_section(result: ValidationResult) -> str:
    if not result.drift:
        return "<p>There is nothing to compare: one of the two sets holds no image that can be read.</p>"
    rows = [
        (
            *(escape(drift.statistic), f"{drift.distance:.3f}", f"{drift.p_value:.2g}"),
            *(f"{drift.labeled_mean:.4g}", f"{drift.unlabeled_mean:.4g}", drift_chart(drift)),
        )
        for drift in result.drift
    ]
    header = ("Statistic of an image", "Distance", "p", "Mean, labelled", "Mean, unlabelled", "Distribution")
    return (
        "<p>Kolmogorov-Smirnov distance between the two sets, 0 (alike) to 1, and the probability p that images "
        "labelled at random are as far apart. Where it is large, method.copy_paste has most to do. "
        f"{_key({'labelled': SUBSET_COLORS['labeled']})} as bars, unlabelled as a line.</p>" + _table(header, rows)
    )


def _near_section(result: ValidationResult, dataset: Path) -> str:
    pairs = result.near_duplicates
    if pairs is None:
        return "<p>They were not looked for: validation.near_duplicate_bits is null.</p>"
    if not pairs:
        return "<p>No validation or test image looks like a training image.</p>"
    # Nearest first; sorted keeps the order of the names among equals.
    nearest = sorted(pairs, key=lambda pair: pair.bits)
    shown = f"The {SHOWN_PAIRS} nearest of {len(pairs)} pairs" if len(pairs) > SHOWN_PAIRS else f"{len(pairs)} pair(s)"
    return (
        f"<p>{shown}: an image that is measured on, and one that is trained on, with how many of the 64 bits of their "
        f"perceptual hashes differ.</p>{pair_figures(dataset, nearest)}"
    )


def _samples(result: ValidationResult, dataset: Path, manifest: Manifest, info: DatasetInfo) -> str:
    unusable = {id_ for check in result.checks if check.aspect == "files" for id_ in check.offenders}
    return "\n".join(
        f"<h3>{SUBSET_NAMES[subset].capitalize()}</h3>{contact_sheet(dataset, manifest, unusable, subset, info.colors)}"
        for subset in SUBSETS
        if manifest.subset(subset)
    )


def _size_table(result: ValidationResult) -> str:
    sizes = sorted(result.image_sizes.items(), key=lambda item: -item[1])
    rows = [(size, str(count)) for size, count in sizes[:LISTED_SIZES]]
    if len(sizes) > LISTED_SIZES:
        rows.append((f"{len(sizes) - LISTED_SIZES} others", str(sum(count for _, count in sizes[LISTED_SIZES:]))))
    return _table(("Height x width", "Images"), rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are HTML."""
    head = "".join(f"<th>{escape(text)}</th>" for text in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table class="figures"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _key(colors: Mapping[str, str]) -> str:
    return "".join(
        f'<span class="entry"><span class="key" style="background:{color}"></span>{escape(name)}</span> '
        for name, color in colors.items()
    )
