"""`python -m ucc.data.inspect FOLDER`: what a folder of images and masks holds, as a first section `dataset`."""
