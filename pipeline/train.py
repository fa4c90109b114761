"""Train the segmenter that params.yaml describes."""

from ucc.stage import run_stage
from ucc import paths
from ucc.config import Params
from ucc.data.verdict import require_validated
from ucc.distributed import rank
from ucc.launch import must_start_processes, start_processes
from ucc.training import TrainingPaths, train


def main(params: Params) -> None:
    """Train on data that passed validation, in a process for each device, then say where the checkpoints are."""
    require_validated(paths.VERDICT, paths.MANIFEST)
    if must_start_processes(params.train):
        start_processes(params.train)
        return
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
    if rank() == 0:
        print(f"segmenter: {paths.FINAL} (best on val: {paths.BEST})\nhistory:   {paths.HISTORY}")


if __name__ == "__main__":
    run_stage(main, wait=False)  # a second trainer is refused
