"""A server's index, with the calls of a local one."""
