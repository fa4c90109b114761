"""A part of the training images to choose values on, so that `val` stays unseen until they are chosen."""

import re
from collections import defaultdict
from collections.abc import Mapping

from ucc.data.manifest import Sample
from ucc.errors import UserError

Samples = dict[str, Sample]


def hold_out(train: Mapping[str, Sample], share: float) -> tuple[Samples, Samples]:
    """Take the last `share` of the images of every sequence out of the training set.

    Neighbouring frames of a video nearly repeat each other, so images drawn at random would be measured on
    scenes that were trained on; the end of a sequence lies next to training frames only once. Images belong to
    one sequence if their names, in alphabetical order, differ only in what follows the last letter, such as a
    frame number.

    Returns:
        The images left to train on, and those held out, both by id.

    Raises:
        UserError: if nothing would be held out, or if an image held out has no mask.
    """
    sequences: defaultdict[str, list[str]] = defaultdict(list)
    for id_ in sorted(train):
        sequences[re.sub(r"[\W\d_]*$", "", id_)].append(id_)
    held = {id_ for ids in sequences.values() for id_ in ids[len(ids) - round(share * len(ids)) :]}
    if not held:
        raise UserError(
            f"partition.tuning_share = {share} holds out none of {len(train)} training images in {len(sequences)} "
            "sequences; raise it, or set it to null to measure on val."
        )
    unmasked = [id_ for id_ in sorted(held) if not train[id_].mask]
    if unmasked:
        raise UserError(
            f"partition.tuning_share = {share} holds out {len(unmasked)} training images without a mask, such as "
            f"{', '.join(unmasked[:3])}; to measure on images they need one. Set it to null to measure on val."
        )
    return (
        {id_: sample for id_, sample in train.items() if id_ not in held},
        {id_: sample for id_, sample in train.items() if id_ in held},
    )
