"""Is it worth labelling the images that `ucc rank` names? CamVid, against as many drawn at random.

    python benchmarks/label_next.py --root path/to/CamVid

For each seed: 23 of the 367 training images are labelled, and `ucc` is trained on them, the others unlabelled. That
model ranks the others; the first 23 of its ranking are labelled too, once with the spread over different-looking images
and once without. The baseline labels 23 more at random, which the pipeline's nested partitions do with ratio 46. What
the labels are worth is measured by training `supervised` anew on each set of labels, so that unlabelled images play no
part in it. Photographs are shrunk to 90x120; 500 steps each; mIoU of head 1 on the whole of val after the last step.
A seed is that of the partition and of the training.

Each finished training leaves a file in `--work` and is not repeated while its parameters, data and code are the same;
one that was interrupted goes on from its last checkpoint. results/label_next.csv and .md are written from those files
after every training, what is missing named.
"""

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from ucc.commands.rank import Candidate, open_model, rank
from ucc.commands.ranking_files import IDS
from ucc.config import Params
from ucc.data.dataset import DatasetInfo
from ucc.data.manifest import Manifest
from ucc.data.partition import make_partition
from ucc.data.sources import prepare_dataset
from ucc.evaluation import DEPLOYED, evaluate
from ucc.files import write_csv, write_json, write_text
from ucc.inference import choose_device
from ucc.models.store import load_segmenter
from ucc.params import load_params
from ucc.runs import data_hash, fingerprint
from ucc.training import TrainingPaths, train

ROOT = Path(__file__).resolve().parents[1]
COUNT = 23
# Half of presets/camvid.yaml's size; its warm-up and ramp in proportion to the steps.
CHANGES = (
    "dataset.max_side=120",
    "views.crop=[80,112]",
    "train.steps=500",
    "train.supervised_warmup=65",
    "train.unsup_rampup=50",
    "train.val_every=500",
    "train.checkpoint_every=100",
)
RANKER = ("method.name=ucc",)
# The learning rates that docs/experiments.md names for the baseline.
STUDENT = ("method.name=supervised", "train.lr=0.005", "train.head_lr_multiplier=10")
ARMS = {
    "23 labels": f"partition.ratio={COUNT}",
    "+ 23 at random": f"partition.ratio={2 * COUNT}",
    "+ 23 by `ucc rank`": "ranking",
    "+ 23 by `ucc rank --no-spread`": "ranking_no_spread",
}
BASELINE = "+ 23 at random"
FILES = {
    "manifest": "manifest.csv",
    "final": "final.pt",
    "best": "best.pt",
    "history": "history.csv",
    "confidence": "confidence.csv",
    "metrics": "train.json",
}
Scores = Mapping[tuple[str, int], float]


def main() -> None:
    """Train what is missing, one training after the other, and write the table after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, help="folder of CamVid, as dataset.root takes it")
    parser.add_argument("--work", type=Path, default=Path("runs/label_next"), help="for data, runs and rankings")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    arguments = parser.parse_args()
    work: Path = arguments.work
    params = parameters(arguments.root, 0)
    if not (work / "dataset").is_dir():
        prepare_dataset(params.dataset, work / "dataset", work / "raw")
    scores: dict[tuple[str, int], float] = {}
    for seed in arguments.seeds:
        for arm, source in ARMS.items():
            scores[arm, seed] = measured(arguments.root, work, seed, arm, source)
            write_results(arguments.results, arguments.seeds, scores)


def parameters(root: str, seed: int, *changes: str) -> Params:
    """presets/camvid.yaml with what this experiment changes."""
    seeds = (f"partition.seed={seed}", f"train.seed={seed}")
    return load_params(
        ROOT / "presets/camvid.yaml", [f"dataset.root={Path(root).resolve()}", *CHANGES, *seeds, *changes]
    )


def measured(root: str, work: Path, seed: int, arm: str, source: str) -> float:
    """mIoU in percent of `supervised` on the labels of an arm."""
    if source.startswith("ranking"):
        ids = ranked_ids(root, work, seed, source, spread=source == "ranking")
        source = f"partition.labeled_ids={ids.resolve()}"
    print(f"== seed {seed}: {arm}", flush=True)
    return trained(parameters(root, seed, *STUDENT, source), work, work / f"seed_{seed}" / f"{slug(arm)}")


def ranked_ids(root: str, work: Path, seed: int, name: str, spread: bool) -> Path:
    """The list of ids that `ucc rank` writes for a model trained with the first labels alone."""
    print(f"== seed {seed}: the model that ranks", flush=True)
    ranker = work / f"seed_{seed}" / "ranker"
    trained(parameters(root, seed, *RANKER, ARMS["23 labels"]), work, ranker)
    manifest = Manifest.read(ranker / FILES["manifest"])
    unlabeled, labeled = (
        [Candidate(sample.id, work / "dataset" / sample.image) for sample in manifest.subset(subset)]
        for subset in ("unlabeled", "labeled")
    )
    out = work / f"seed_{seed}" / name
    if rank(open_model(ranker / FILES["final"]), unlabeled, labeled, (), COUNT, spread, out):
        raise SystemExit("ranking failed")
    return out / IDS


def trained(params: Params, work: Path, folder: Path) -> float:
    """mIoU of head 1 on val, in percent, after training with `params`; what is there of the same run is read."""
    dataset, result = work / "dataset", folder / "result.json"
    info = DatasetInfo.read(dataset)
    manifest = make_partition(dataset, params.partition, work / "raw")
    run = fingerprint(params, data_hash(dataset, manifest), info)
    if not result.is_file() or json.loads(result.read_text(encoding="utf-8"))["fingerprint"] != run:
        manifest.write(folder / FILES["manifest"])
        places = {name: folder / file for name, file in FILES.items()}
        train(params, TrainingPaths(dataset=dataset, runs=work / "runs", **places))
        segmenter, _ = load_segmenter(folder / FILES["final"])
        device = choose_device(params.train.accelerator)
        scores = evaluate(segmenter.to(device), manifest.subset("val"), dataset, info, params.evaluate, device).miou()
        write_json(result, {"miou": scores[DEPLOYED], "manifest": manifest.hash, "fingerprint": run})
    return float(json.loads(result.read_text(encoding="utf-8"))["miou"])


def write_results(folder: Path, seeds: Sequence[int], scores: Scores) -> None:
    """The table as Markdown, and each run as a row of a CSV."""
    rows = [
        {"arm": arm, "seed": seed, "miou": round(scores[arm, seed], 4) if (arm, seed) in scores else None}
        for arm in ARMS
        for seed in seeds
    ]
    write_csv(folder / "label_next.csv", rows, ("arm", "seed", "miou"))
    lines = [
        "# Which images to label next: CamVid at 90x120, 500 steps",
        "",
        "`python benchmarks/label_next.py --root path/to/CamVid`. mIoU in percent on val of `supervised`, trained anew",
        "on each set of labels; mean ± sample standard deviation over the seeds, and over the differences to random.",
        "",
        "| | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean ± sd | against random |",
        "|---" * (len(seeds) + 3) + "|",
    ]
    for arm in ARMS:
        cells = [f"{scores[arm, seed]:.1f}" if (arm, seed) in scores else "missing" for seed in seeds]
        own = [scores[arm, seed] for seed in seeds if (arm, seed) in scores]
        ahead = [
            scores[arm, seed] - scores[BASELINE, seed] for seed in seeds if {(arm, seed), (BASELINE, seed)} <= {*scores}
        ]
        cells += [spread_of(own, ""), "" if arm == BASELINE else spread_of(ahead, "+")]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    write_text(folder / "label_next.md", "\n".join(lines) + "\n")


def spread_of(values: Sequence[float], sign: str) -> str:
    """Mean ± sample standard deviation."""
    if not values:
        return "missing"
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{sign}.1f}{deviation}"


def slug(arm: str) -> str:
    """An arm's name as that of a folder."""
    return "_".join("".join(c if c.isalnum() else " " for c in arm).split())


if __name__ == "__main__":
    main()
