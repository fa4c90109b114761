"""From any source to batches: sources, the canonical data set, the manifest, augmentation and the loader."""
