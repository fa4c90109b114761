"""Stage `partition`: which training images are labelled. Reads data/dataset, writes data/manifest.csv."""

from ucc.stage import run_stage
from ucc.config import Params
from ucc.data.manifest import measured_samples
from ucc.data.partition import describe_partition, make_partition
from ucc.files import write_json
from ucc.paths import DATASET, MANIFEST, PARTITION, RAW


def main(params: Params) -> None:
    """Write the manifest and its summary."""
    manifest = make_partition(DATASET, params.partition, RAW / "partitions")
    measured_samples(manifest, params.evaluate.split)  # that there are none is not to be found out after the training
    summary = describe_partition(DATASET, manifest, params.partition)
    manifest.write(MANIFEST)
    write_json(PARTITION, summary)
    print(f"partition {manifest.hash}: " + ", ".join(f"{n} {name}" for name, n in summary["images"].items()))
    if not manifest.subset("unlabeled"):
        print("warning: no unlabelled images; only method.name = supervised has any use for this partition")
    print(f"wrote {MANIFEST} and {PARTITION}")


if __name__ == "__main__":
    run_stage(main)
