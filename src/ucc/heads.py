"""Both heads of a trained segmenter on one image. The only part of `ucc rank` that needs torch."""

from pathlib import Path

import numpy as np
import torch

from ucc.errors import UserError
from ucc.inference import choose_device, predict, uncertainty
from ucc.memory import is_out_of_memory
from ucc.models.store import load_segmenter
from ucc.ranking import Opinion, Pixels


class Heads:
    """A file that the stage `train` wrote, asked for what its heads say; see `ucc.ranking.Model`.

    Raises:
        UserError: if the file is missing or was not written by that stage.
    """

    def __init__(self, path: Path) -> None:
        self._segmenter, facts = load_segmenter(path)
        self._device = choose_device("auto")
        self._segmenter.to(self._device)
        self.colors = facts.colors
        self.manifest = facts.manifest

    def opinion(self, image: Pixels) -> Opinion:
        """Classes and uncertainty of head 1, which is the one that is exported, and the heads' disagreement.

        Raises:
            UserError: if memory does not suffice for the image as a whole.
        """
        images = torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0).to(self._device)
        try:
            heads = predict(self._segmenter, images)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(
                f"not enough memory for {image.shape[1]}x{image.shape[0]} pixels at once; shrink the image, or rank "
                "with the exported .onnx file, which takes it in tiles."
            ) from error
        votes = torch.stack([head.argmax(dim=1)[0] for head in heads])
        differ = (votes != votes[0]).any(dim=0).double().mean()
        return Opinion(
            classes=votes[0].to(torch.uint8).cpu().numpy(),
            uncertainty=uncertainty(heads[0])[0].cpu().numpy().astype(np.float32, copy=False),
            disagreement=float(differ) if len(heads) > 1 else None,
        )
