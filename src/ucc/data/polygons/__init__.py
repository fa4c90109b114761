"""Masks of what annotation tools store as polygons, of COCO, labelme and YOLO: `python -m ucc.data.polygons`."""
