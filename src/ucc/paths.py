"""Where the stages leave their files, relative to the project's root; dvc.yaml names the same places."""

from pathlib import Path

RAW = Path("data/raw")
DATASET = Path("data/dataset")
MANIFEST = Path("data/manifest.csv")
PARTITION = Path("data/partition.json")
VALIDATION_JSON = Path("reports/validation.json")
VALIDATION_PAGE = Path("reports/validation.html")
DATA_DOCS = Path("reports/data_docs")
RUNS = Path("runs")
FINAL = Path("models/final.pt")
BEST = Path("models/best.pt")
HISTORY = Path("metrics/history.csv")
CONFIDENCE = Path("metrics/confidence.csv")
TRAIN_METRICS = Path("metrics/train.json")
METRICS = Path("metrics/evaluation.json")
PER_CLASS = Path("metrics/per_class.csv")
CONFUSION = Path("metrics/confusion.csv")
PSEUDO_LABELS = Path("metrics/pseudo_labels.json")
PANELS = Path("reports/panels")
SEGMENTER = Path("models/segmenter.onnx")
PARITY = Path("metrics/export.json")
