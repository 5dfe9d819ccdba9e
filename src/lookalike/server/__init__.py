"""The web page and the REST service over one index."""
