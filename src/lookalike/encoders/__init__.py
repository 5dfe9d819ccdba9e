"""Images -> descriptors."""
