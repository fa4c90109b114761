"""Index masks of what is annotated otherwise: as polygons, or with a binary mask for each class or object."""
