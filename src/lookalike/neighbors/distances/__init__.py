"""Ways to compare descriptors: one file each, and the table of those that exist.

A new distance is a file with a subclass of :class:`lookalike.neighbors.distances.base.Distance`, and one line in
:data:`DISTANCES`. What is particular to it, it says itself: nobody else asks for its name. Another package adds one by an
entry point of the group ``lookalike.distances``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lookalike.registry import Registry

if TYPE_CHECKING:
    from lookalike.neighbors.distances.base import Distance

#: name -> class
DISTANCES: Registry[Distance] = Registry(
    "distance",
    "lookalike.distances",
    "lookalike.neighbors.distances.base:Distance",
    {
        "cosine": "lookalike.neighbors.distances.cosine:Cosine",
        "euclidean": "lookalike.neighbors.distances.euclidean:Euclidean",
        "inner product": "lookalike.neighbors.distances.inner_product:InnerProduct",
        "hamming": "lookalike.neighbors.distances.hamming:Hamming",
    },
)

__all__ = ["DISTANCES"]
