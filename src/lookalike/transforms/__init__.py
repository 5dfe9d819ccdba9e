"""Images -> other images: augmentations, views, noise and its removal."""
