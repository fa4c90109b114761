"""Train the segmenter that params.yaml describes."""

from ucc import paths
from ucc.config import Params
from ucc.stage import run_stage
from ucc.training import TrainingPaths, train


def main(params: Params) -> None:
    """Train, then say where the checkpoints are."""
    train(
        params,
        TrainingPaths(
            dataset=paths.DATASET,
            manifest=paths.MANIFEST,
            runs=paths.RUNS,
            final=paths.FINAL,
            best=paths.BEST,
            history=paths.HISTORY,
            confidence=paths.CONFIDENCE,
            metrics=paths.TRAIN_METRICS,
        ),
    )
    print(f"segmenter: {paths.FINAL} (best on val: {paths.BEST})\nhistory:   {paths.HISTORY}")


if __name__ == "__main__":
    run_stage(main, wait=False)  # a second trainer of the same run is refused
