"""The folder on disk: what was indexed, and how it is kept."""
