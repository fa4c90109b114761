"""Stage `download`: bring the data set into the canonical layout."""

from ucc.stage import run_stage
from ucc import paths
from ucc.config import Params
from ucc.data.sources import prepare_dataset, summarize


def main(params: Params) -> None:
    """Write the data set that `dataset.name` names, and say what it holds."""
    info = prepare_dataset(params.dataset, paths.DATASET, paths.RAW)
    print(summarize(info, paths.DATASET))


if __name__ == "__main__":
    run_stage(main)
