"""Descriptors -> nearest neighbours, graphs and layouts; knows nothing of images or indexes."""
