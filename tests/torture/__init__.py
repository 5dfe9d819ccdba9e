"""What takes minutes and makes a mess: `make torture`."""
