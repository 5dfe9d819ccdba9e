"""First answers -> a better order of them."""
