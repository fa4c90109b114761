"""CCT: cross-consistency training (Ouali, Hudelot, Tami, CVPR 2020)."""

from typing import ClassVar, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ucc.config import Params
from ucc.data.batch import LabeledBatch, UnlabeledBatch
from ucc.distributed import denominator
from ucc.losses import mean_squared_distance
from ucc.methods.base import SemiSupervised, Terms, labeled_loss
from ucc.methods.passes import encode_both, teacher_probabilities, unlabeled_pass
from ucc.models import Segmenter, build_segmenter
from ucc.models.encoder import Encoder, Features
from ucc.models.segmenter import build_head, upsample
from ucc.perturbations import PERTURBATIONS


class CCT(SemiSupervised):
    """Auxiliary decoders on perturbed features learn to predict what the main decoder predicts on clean ones.

    L_u is the mean over the K decoders of the mean squared error d(g(z), g_k(z_k)) between the main decoder's output
    on features z and that of auxiliary decoder k on perturbed features z_k (section 3 of the paper).

    Every auxiliary decoder is a head like the main one and has one perturbation of `method.cct.perturbations`. The
    encoder's deep features are perturbed; those at stride 4 pass as they are. Only the main decoder is kept.
    """

    idle_in_warmup: ClassVar[bool] = True

    def __init__(self, segmenter: Segmenter, auxiliary: nn.ModuleList, params: Params) -> None:
        super().__init__(segmenter, params)
        self.auxiliary = auxiliary

    @classmethod
    def build(cls, params: Params, num_classes: int) -> Self:
        """A segmenter of one head, and one more head for each perturbation."""
        segmenter = build_segmenter(params.model, num_classes, heads=1, seed=params.train.seed)
        count = len(params.method.cct.perturbations)
        with torch.random.fork_rng(devices=[]):
            heads = [
                build_head(
                    params.model, cast(Encoder, segmenter.encoders[0]), num_classes, params.train.seed, 1 + index
                )
                for index in range(count)
            ]
        return cls(segmenter, nn.ModuleList(heads).to(memory_format=torch.channels_last), params)

    def labeled_step(self, labeled: LabeledBatch, _step: int) -> Tensor:
        """The main decoder's loss."""
        return labeled_loss(self.segmenter(labeled.images), labeled.masks, self.params.ohem)

    def full_step(self, labeled: LabeledBatch, unlabeled: UnlabeledBatch, _step: int) -> Terms:
        """L_s, and L_u: the distance between main and auxiliary outputs, averaged over the decoders.

        It reaches auxiliary decoders and encoder, not the main decoder.
        """
        mode, size = self.params.unlabeled_batchnorm, (unlabeled.weak.shape[2], unlabeled.weak.shape[3])
        clean, (low, high) = encode_both(self.segmenter, labeled.images, unlabeled.weak, mode)
        loss_sup = labeled_loss([self.segmenter.decode(0, clean, size)], labeled.masks, self.params.ohem)
        valid = unlabeled.weak_valid
        pixels = denominator(valid.sum())
        with unlabeled_pass(self, mode):
            target = self._target(unlabeled.weak, (low, high))
            distances = []
            for name, head in zip(self.params.cct.perturbations, self.auxiliary, strict=True):

                def decode(features: Tensor, head: nn.Module = head) -> Tensor:
                    return upsample(head((low.detach(), features)), size)

                perturbed = PERTURBATIONS[name](high, target, decode)
                probabilities = functional.softmax(upsample(head((low, perturbed)), size), dim=1)
                distances.append(mean_squared_distance(probabilities, target, valid, over=pixels))
        return Terms(loss_sup, torch.stack(distances).mean(), {})

    @torch.no_grad()
    def _target(self, images: Tensor, features: Features) -> Tensor:
        """Class probabilities of the main decoder: on `features` as they are, or as in deployment."""
        if self.params.teacher_batchnorm == "running":
            return teacher_probabilities(self.segmenter, images, "running")[0]
        return functional.softmax(self.segmenter.decode(0, features, (images.shape[2], images.shape[3])), dim=1)
