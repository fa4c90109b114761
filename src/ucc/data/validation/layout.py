"""The frame of the validation page: what does not depend on what was found."""

from string import Template

SUBSET_NAMES = {"labeled": "labelled", "unlabeled": "unlabelled", "val": "validation", "test": "test"}
SUBSET_COLORS = {"labeled": "#2f6fde", "val": "#e39a2d", "test": "#8a5fbf", "unlabeled": "#1c2330"}

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Validation of $dataset</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2330; background: #fff;
  max-width: 66rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0.2rem; }
h2 { font-size: 1.15rem; margin-top: 2.2rem; }
h3 { font-size: 0.95rem; margin: 1.1rem 0 0.4rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.4rem 0.7rem; border-bottom: 1px solid #dde2ea; }
tr.aspect th { padding-top: 1rem; text-transform: capitalize; }
table.figures { width: auto; }
table.figures td { vertical-align: middle; }
table.figures td + td { text-align: right; font-variant-numeric: tabular-nums; }
td p { margin: 0.3rem 0 0; }
ul { margin: 0.3rem 0; padding-left: 1.2rem; max-height: 20rem; overflow: auto; }
li, figcaption { overflow-wrap: anywhere; }
code { color: #5b6678; }
.pass, .warn, .fail { padding: 0.1rem 0.55rem; border-radius: 0.7rem; font-weight: 600; }
.pass, .passed { background: #dcf3e3; color: #14602f; }
.warn { background: #fdf0cf; color: #7a5200; }
.fail, .failed { background: #fbdcdc; color: #93191b; }
.summary { padding: 0.6rem 0.9rem; border-radius: 0.4rem; }
.sheet { display: flex; flex-wrap: wrap; gap: 0.7rem; }
.pair { display: flex; gap: 0.2rem; padding: 0.4rem; border: 1px solid #dde2ea; border-radius: 0.4rem; }
figure { margin: 0; width: 200px; }
figure img { display: block; max-width: 100%; }
figcaption { font-size: 11px; line-height: 1.3; color: #5b6678; }
svg { max-width: 100%; }
svg text { font: 13px system-ui, sans-serif; fill: #1c2330; }
svg text.value { font-size: 11px; fill: #5b6678; }
$colors
polyline.unlabeled { fill: none; stroke: #1c2330; stroke-width: 1.2; }
.entry { white-space: nowrap; }
.key { display: inline-block; width: 0.8rem; height: 0.8rem; margin: 0 0.3rem 0 0.9rem; }
</style>
</head>
<body>
<h1>Validation of $dataset</h1>
<p>Partition <code>$manifest</code></p>
<p class="summary $verdict"><strong>Validation $verdict.</strong> $summary</p>
<h2>Checks</h2>
<table><thead><tr><th>Result</th><th>Promise</th><th>Found</th></tr></thead>
$checks
</table>
<h2>Classes</h2>
<p>Share of each class among the pixels that are not ignored, on a $scale scale. $share_key</p>
$class_chart
$class_table
<h2>Labelled against unlabelled images</h2>
$drift
<h2>Near duplicates</h2>
$near_duplicates
<h2>Samples</h2>
<p>Evenly spaced over the names. $class_key</p>
$samples
<h2>Image sizes</h2>
$sizes
</body>
</html>
""")
