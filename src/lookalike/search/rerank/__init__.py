"""First answers -> a better order of them.

A new re-ranking is a file with a subclass of :class:`lookalike.search.rerank.base.Reranker`, and one line in
:data:`RERANKERS`. Another package adds one by an entry point of the group ``lookalike.rerankers``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lookalike.registry import Registry

if TYPE_CHECKING:
    from lookalike.search.rerank.base import Reranker

#: name -> class
RERANKERS: Registry[Reranker] = Registry(
    "re-ranking",
    "lookalike.rerankers",
    "lookalike.search.rerank.base:Reranker",
    {
        "query-expansion": "lookalike.search.rerank.query_expansion:QueryExpansion",
        "alpha-query-expansion": "lookalike.search.rerank.query_expansion:AlphaQueryExpansion",
        "diffusion": "lookalike.search.rerank.diffusion:Diffusion",
        "k-reciprocal": "lookalike.search.rerank.k_reciprocal:KReciprocal",
        "geometric": "lookalike.search.rerank.geometric:Geometric",
        "multi-view": "lookalike.search.rerank.multi_view:MultiView",
        "auto": "lookalike.search.rerank.auto:Auto",
    },
)
