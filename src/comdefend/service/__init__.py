"""An HTTP service: images in, purified images and answers of a classifier out."""
