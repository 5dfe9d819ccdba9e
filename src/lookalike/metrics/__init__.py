"""Rankings and right answers -> numbers."""
