"""A collection and its index -> the index updated: planned, read, encoded and committed."""

from lookalike.index.sync.commit import Target
from lookalike.index.sync.plan import Rules
from lookalike.index.sync.run import Summary, Sync

__all__ = ["Rules", "Summary", "Sync", "Target"]
