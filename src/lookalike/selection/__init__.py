"""Which encoder and which post-processing suit these images, told without labels."""
