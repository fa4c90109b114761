"""Masks of what annotation tools store as polygons, in COCO's JSON or labelme's: `python -m ucc.data.polygons`."""
