"""Images -> other images: augmentations, views, noise and its removal."""

#: What is learnt by augmented copies, and by views, goes by these: raise one where the images that come out are others.
AUGMENTATIONS_VERSION, VIEWS_VERSION = 1, 1
