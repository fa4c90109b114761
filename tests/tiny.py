"""The tiny data set's colours and sizes, and parameters that fit it."""

import json
import shutil
from pathlib import Path

from ucc import paths
from ucc.config import FolderParams
from ucc.data.manifest import Manifest

REPOSITORY = Path(__file__).resolve().parents[1]
COLORS = ((200, 60, 60), (60, 200, 60), (60, 60, 200))
SUBSET_SIZES = {"labeled": 3, "unlabeled": 5, "val": 2}
SIZE = (40, 48)
# The section dataset.folder as presets/folder.yaml has it.
FOLDER = FolderParams(
    images="images",
    masks="masks",
    image_suffix="",
    mask_suffix="",
    val=None,
    mask_format="auto",
    classes=None,
    ignore=[255],
)
# Every key that the tests below rely on, so that a new default in params.yaml changes none of them.
TINY = (
    "model.backbone=mobilenet_v3_large",
    "model.weights=none",
    "model.output_stride=16",
    "model.head=separable",
    "model.head_width=8",
    "model.dropout=0.1",
    "views.crop=[32,32]",
    "views.flip_probability=0.5",
    "views.scale_probability=0.5",
    "views.scale_range=[0.5,2.0]",
    "views.strong_operations=[1,3]",
    "views.strong_strength=1.0",
    "views.strong_per_head=true",
    "views.photometric_first=false",
    "method.name=ucc",
    "method.unsup_weight=2.0",
    "method.sharing=cross_head",
    "method.views=weak_strong",
    "method.teacher_batchnorm=batch",
    "method.unlabeled_batchnorm=joint",
    "method.copy_paste.mode=dcscp",
    "method.copy_paste.probability=0.5",
    "method.copy_paste.ema_decay=0.999",
    "method.uncertainty.rule=confident_teacher",
    "method.uncertainty.normalize=weights",
    "method.mean_teacher.ema_decay=0.9",
    "method.cct.perturbations=[feature_noise,feature_drop,virtual_adversarial]",
    "method.gct.flaw_threshold=0.6",
    "method.gct.correction_weight=1.0",
    "method.ohem.enabled=false",
    "train.seed=0",
    "train.steps=12",
    "train.supervised_warmup=0",
    "train.unsup_rampup=0",
    "train.batch_labeled=2",
    "train.batch_unlabeled=2",
    "train.lr=0.02",
    "train.head_lr_multiplier=1.0",
    "train.momentum=0.9",
    "train.weight_decay=5.0e-4",
    "train.poly_power=0.9",
    "train.log_every=1",
    "train.val_every=4",
    "train.checkpoint_every=2",
    "train.workers=0",
    "train.accelerator=cpu",
    "train.devices=1",
    "train.nodes=1",
    "train.launcher=torchrun",
    "train.max_restarts=0",
    "train.precision=32-true",
    "train.accumulation=1",
    "evaluate.sliding_window=false",
)


def prepare_stage(folder: Path, dataset: Path, manifest: Manifest) -> None:
    """Make of an empty folder one in which the stage `train` runs: parameters, data, and that these are sound."""
    for place in (paths.DATASET, paths.VERDICT):
        (folder / place).parent.mkdir()
    shutil.copy(REPOSITORY / "params.yaml", folder)
    (folder / paths.DATASET).symlink_to(dataset)
    manifest.write(folder / paths.MANIFEST)
    verdict = json.dumps({"success": True, "manifest": manifest.hash})
    (folder / paths.VERDICT).write_text(verdict, encoding="utf-8")
