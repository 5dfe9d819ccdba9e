"""One query -> a page of answers."""
