"""Bytes -> upright pixels, safely."""
