"""Fetch the weights that `model.weights: imagenet` needs, so that training needs no network.

docker/run python -m ucc.fetch_weights                           # for model.backbone of params.yaml
docker/run python -m ucc.fetch_weights model.backbone=resnet50
"""

from ucc.stage import run_stage
from ucc.config import Params
from ucc.models.encoder import classifier_network
from ucc.models.weights import load_weights


def main(params: Params) -> None:
    """Download the weights into torch's cache, unless they are there, and check that they fit."""
    load_weights(classifier_network(params.model.backbone), params.model.backbone, "imagenet")
    print(f"weights of {params.model.backbone}: in torch's cache")


if __name__ == "__main__":
    run_stage(main)
