"""The version, stated once for the package; pyproject.toml states it again, and a test compares them."""

__version__ = "0.1.0"
