"""Networks that are trained here, with Keras."""
