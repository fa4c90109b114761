"""Accuracy of a segmentation, from one confusion matrix over a whole data set."""

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from ucc.data.dataset import IGNORE_INDEX


class ConfusionMatrix(MulticlassConfusionMatrix):
    """Counts of labelled pixels by true and predicted class, and the scores that follow from them.

    With `n[i, j]` the number of pixels of true class i predicted as class j, and a class c "occurring" when
    it is the truth or the prediction of at least one labelled pixel:

        IoU_c = n[c, c] / (sum_j n[c, j] + sum_i n[i, c] - n[c, c])
        mIoU = mean of IoU_c over the classes that occur
        pixel accuracy = sum_c n[c, c] / sum_ij n[i, j]
        accuracy of class c = n[c, c] / sum_j n[c, j]

    The counts are exact integers accumulated over all updates, so the scores are those of the whole data
    set: neither the order of the images nor the batch size plays a part, as it would in a mean of batches'
    scores. Under torch.distributed the counts of all ranks are summed when a score is read: every rank must
    read it.

    Args:
        num_classes: C, without the ignore index.
        ignore_index: pixels with this truth are not counted, whatever is predicted there.
    """

    def __init__(self, num_classes: int, ignore_index: int = IGNORE_INDEX) -> None:
        super().__init__(num_classes, ignore_index=ignore_index, validate_args=False)

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Count the pixels of class indices `prediction` and `truth`, integers of one and the same shape.

        Replaces the base's update, which neither refuses classes out of range nor, where deterministic
        algorithms are on, stays below C² integers of memory a pixel.

        Raises:
            ValueError: if the shapes differ or a counted pixel is none of the C classes.
        """
        if prediction.shape != truth.shape:
            raise ValueError(f"prediction of shape {tuple(prediction.shape)}, truth of {tuple(truth.shape)}")
        counted = truth != self.ignore_index
        rows, columns = truth[counted].long(), prediction[counted].long()
        for name, values in (("truth", rows), ("prediction", columns)):
            if values.numel() and not 0 <= int(values.min()) <= int(values.max()) < self.num_classes:
                raise ValueError(
                    f"{name} holds values from {int(values.min())} to {int(values.max())}, "
                    f"beyond the {self.num_classes} classes"
                )
        counts = torch.bincount(rows * self.num_classes + columns, minlength=self.num_classes**2)
        self.confmat += counts.reshape(self.num_classes, self.num_classes)

    @property
    def matrix(self) -> Tensor:
        """The counts: int64 of shape (C, C) on the CPU, rows the truth, columns the prediction."""
        counts: Tensor = self.compute()
        return counts.cpu()

    def per_class_iou(self) -> Tensor:
        """IoU of each class in [0, 1]: float64 of shape (C,), NaN where the class does not occur."""
        counts = self.matrix.double()
        correct = counts.diagonal()
        return correct / (counts.sum(dim=1) + counts.sum(dim=0) - correct)

    def mean_iou(self) -> float:
        """Mean IoU in [0, 1] over the classes that occur; NaN if no labelled pixel was counted."""
        return float(self.per_class_iou().nanmean())

    def per_class_accuracy(self) -> Tensor:
        """Share of each class's pixels found, in [0, 1]: float64 of shape (C,), NaN where it has none."""
        counts = self.matrix.double()
        return counts.diagonal() / counts.sum(dim=1)

    def pixel_accuracy(self) -> float:
        """Share of the labelled pixels that are right, in [0, 1]; NaN if none was counted."""
        counts = self.matrix.double()
        return float(counts.trace() / counts.sum())
