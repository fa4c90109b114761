"""What validation found, and the two files that say so: JSON for programs, a page for people.

The page is one self-contained HTML file: no script, no network, no time stamp.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from ucc.errors import UserError
from ucc.files import write_json, write_text

NAMED_OFFENDERS = 20
BAR_WIDTH = 420
ROW_HEIGHT = 34
LETTER_WIDTH = 7.5


@dataclass(frozen=True)
class CheckResult:
    """What came of one check; `offenders` maps the ids of rows to what is wrong with them."""

    name: str
    promise: str
    severity: str
    success: bool
    offenders: Mapping[str, str]
    observed: int | None
    remedy: str


@dataclass(frozen=True)
class ValidationResult:
    """All that the reports show; nothing in it depends on time or machine.

    `class_shares` holds, for each subset with masks, the share of each class among the pixels that are not
    ignored, 0..1; `image_sizes` the number of images of each size "<height>x<width>".
    """

    dataset: str
    manifest: str
    images: Mapping[str, int]
    image_sizes: Mapping[str, int]
    checks: Sequence[CheckResult]
    class_shares: Mapping[str, Mapping[str, float]]
    labeled_images_per_class: Mapping[str, int]
    colors: Sequence[tuple[int, int, int]]

    @property
    def failures(self) -> list[CheckResult]:
        """The failed checks that stop the pipeline."""
        return [check for check in self.checks if not check.success and check.severity == "error"]

    @property
    def warnings(self) -> list[CheckResult]:
        """The failed checks that do not."""
        return [check for check in self.checks if not check.success and check.severity == "warning"]

    def as_dict(self) -> dict[str, Any]:
        """The content of reports/validation.json."""
        values = asdict(self)
        del values["colors"]
        return {"success": not self.failures} | values

    def raise_if_failed(self, dataset: Path) -> None:
        """Stop the pipeline on a failed check.

        Raises:
            UserError: with the failed checks, the offending files below `dataset`, and the remedies.
        """
        if self.failures:
            raise UserError(
                f"{dataset}: the data set failed validation.\n" + "\n".join(map(describe_failure, self.failures))
            )


def describe_failure(check: CheckResult) -> str:
    """A failed check as text: what was promised, the offending rows (the first twenty), and the remedy."""
    found = [] if check.observed is None else [f"found {check.observed}"]
    found += list(check.offenders.values())[:NAMED_OFFENDERS]
    if len(check.offenders) > NAMED_OFFENDERS:
        found.append(f"and {len(check.offenders) - NAMED_OFFENDERS} more, see the report")
    lines = [f"{check.severity}: {check.name} ({check.promise}):", *found, f"remedy: {check.remedy}"]
    return "\n  ".join(lines)


def write_reports(result: ValidationResult, json_path: Path, page_path: Path) -> None:
    """Write `result` as JSON and as an HTML page, each atomically."""
    write_json(json_path, result.as_dict())
    write_text(page_path, validation_page(result))


def validation_page(result: ValidationResult) -> str:
    """The HTML page: summary, checks, class shares as chart and table, image sizes."""
    images = ", ".join(f"{count} {_SUBSET_NAMES[name]}" for name, count in result.images.items() if count)
    return _PAGE.substitute(
        dataset=escape(result.dataset),
        manifest=escape(result.manifest),
        verdict="failed" if result.failures else "passed",
        summary=f"{len(result.checks)} checks: {_passed(result)} passed, {len(result.failures)} failed, "
        f"{len(result.warnings)} with warnings. {images} images.",
        checks="\n".join(map(_check_row, result.checks)),
        chart=_share_chart(result),
        shares=_share_table(result),
        sizes=_table(("Height x width", "Images"), list(result.image_sizes.items())),
    )


def _passed(result: ValidationResult) -> int:
    return sum(check.success for check in result.checks)


def _check_row(check: CheckResult) -> str:
    status = "pass" if check.success else {"error": "fail", "warning": "warn"}[check.severity]
    found = "" if check.observed is None else f"found {check.observed}"
    if check.offenders:
        items = "".join(f"<li>{escape(offender)}</li>" for offender in check.offenders.values())
        found += f"<details open><summary>{len(check.offenders)} found</summary><ul>{items}</ul></details>"
    if not check.success:
        found += f"<p>Remedy: {escape(check.remedy)}.</p>"
    return (
        f'<tr><td><span class="{status}">{status}</span></td>'
        f"<td>{escape(check.promise)}<br><code>{escape(check.name)}</code></td><td>{found}</td></tr>"
    )


def _share_chart(result: ValidationResult) -> str:
    """Two bars a class, labelled above validation, on one linear scale that ends at the largest share."""
    charted = {name: result.class_shares[name] for name in ("labeled", "val") if name in result.class_shares}
    largest = max((share for shares in charted.values() for share in shares.values()), default=0.0) or 1.0
    left = 32 + LETTER_WIDTH * max(map(len, result.labeled_images_per_class))
    rows = []
    for index, (name, color) in enumerate(zip(result.labeled_images_per_class, result.colors, strict=True)):
        top = index * ROW_HEIGHT
        rows.append(
            f'<rect x="0" y="{top + 9}" width="12" height="12" fill="rgb{color}" stroke="#888"/>'
            f'<text x="20" y="{top + 19}">{escape(name)}</text>'
        )
        for line, (subset, shares) in enumerate(charted.items()):
            y, width = top + 3 + 13 * line, max(1.0, BAR_WIDTH * shares[name] / largest)
            rows.append(
                f'<rect class="{subset}" x="{left:.0f}" y="{y}" width="{width:.1f}" height="11"/>'
                f'<text class="value" x="{left + width + 6:.1f}" y="{y + 9}">{_percent(shares[name])}</text>'
            )
    total_width, height = round(left) + BAR_WIDTH + 70, ROW_HEIGHT * len(result.colors)
    return (
        f'<svg viewBox="0 0 {total_width} {height}" width="{total_width}" height="{height}" role="img" '
        f'aria-label="Class shares, labelled and validation">{"".join(rows)}</svg>'
    )


def _share_table(result: ValidationResult) -> str:
    subsets = list(result.class_shares)
    header = ("Class", "Labelled images", *(f"Pixels, {_SUBSET_NAMES[subset]}" for subset in subsets))
    rows = [
        (name, count, *(_percent(result.class_shares[subset][name]) for subset in subsets))
        for name, count in result.labeled_images_per_class.items()
    ]
    return _table(header, rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table class="figures"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _percent(share: float) -> str:
    return f"{share:.2%}"


_SUBSET_NAMES = {"labeled": "labelled", "unlabeled": "unlabelled", "val": "validation", "test": "test"}

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Validation of $dataset</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2330; background: #fff;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0.2rem; }
h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.4rem 0.7rem; border-bottom: 1px solid #dde2ea; }
table.figures { width: auto; }
table.figures td + td { text-align: right; font-variant-numeric: tabular-nums; }
td p { margin: 0.3rem 0 0; }
ul { margin: 0.3rem 0; padding-left: 1.2rem; max-height: 20rem; overflow: auto; }
code { color: #5b6678; }
.pass, .warn, .fail { padding: 0.1rem 0.55rem; border-radius: 0.7rem; font-weight: 600; }
.pass, .passed { background: #dcf3e3; color: #14602f; }
.warn { background: #fdf0cf; color: #7a5200; }
.fail, .failed { background: #fbdcdc; color: #93191b; }
.summary { padding: 0.6rem 0.9rem; border-radius: 0.4rem; }
svg text { font: 13px system-ui, sans-serif; fill: #1c2330; }
svg text.value { font-size: 11px; fill: #5b6678; }
.labeled { fill: #2f6fde; }
.val { fill: #e39a2d; }
.key { display: inline-block; width: 0.8rem; height: 0.8rem; margin: 0 0.3rem 0 0.9rem; }
</style>
</head>
<body>
<h1>Validation of $dataset</h1>
<p>Partition <code>$manifest</code></p>
<p class="summary $verdict"><strong>Validation $verdict.</strong> $summary</p>
<h2>Checks</h2>
<table><thead><tr><th>Result</th><th>Promise</th><th>Found</th></tr></thead><tbody>
$checks
</tbody></table>
<h2>Class shares</h2>
<p>Share of each class among the pixels that are not ignored.
<span class="key" style="background:#2f6fde"></span>labelled
<span class="key" style="background:#e39a2d"></span>validation</p>
$chart
$shares
<h2>Image sizes</h2>
$sizes
</body>
</html>
""")
