"""A Keras network of plain layers and images -> its output before the last activation, faster than layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np


def forward(network: Any, x: Any, dtype: str = "float32") -> Any:
    """Compute a network's output before its last activation, equal to its layers one by one, but faster on a CPU.

    Two things are done differently. A convolution of an image that was just doubled by nearest-neighbour upsampling is
    one transposed convolution of the small image with the kernel's taps summed in twos: 16 products where there were
    36, and the large image is never made. And bias and activation come after a max pooling instead of before it: all
    rise with their input, so the order doesn't matter, and there is a quarter of the work.

    Parameters
    ----------
    network : keras.Sequential
        Of Conv2D (3 x 3 and unstrided after an upsampling), Dense, MaxPooling2D, UpSampling2D (2, nearest), Cropping2D,
        Flatten and Reshape layers.
    x : tensor, shape (n, h, w, channels)
        In 0..1.
    dtype : {"float32", "bfloat16"}
        Type to compute in.

    Returns
    -------
    tensor of float32, shape (n, h, w, channels)
        Logits: the sigmoid of them is the network's output.
    """
    from keras import layers, ops
    from keras.backend import backend

    x = ops.cast(x, dtype)
    remaining = [layer for layer in network.layers if not isinstance(layer, layers.InputLayer)]
    while remaining:
        layer = remaining.pop(0)
        upsampled = (
            isinstance(layer, layers.UpSampling2D) and bool(remaining) and isinstance(remaining[0], layers.Conv2D)
        )
        if upsampled:
            layer = remaining.pop(0)
        if isinstance(layer, layers.Dense):
            y = ops.add(ops.matmul(x, ops.cast(layer.kernel, dtype)), ops.cast(layer.bias, dtype))
            x = layer.activation(y) if remaining else y
            continue
        if not isinstance(layer, layers.Conv2D):
            x = layer.call(x)
            continue
        kernel = ops.cast(layer.kernel, dtype)
        if upsampled and backend() == "jax":  # XLA's transposed convolutions are slower than what they save
            y = ops.conv(ops.repeat(ops.repeat(x, 2, 1), 2, 2), kernel, strides=1, padding=layer.padding)
        elif upsampled:
            y = ops.conv_transpose(x, _summed_taps(kernel), strides=2, padding="same")
            if layer.padding == "valid":
                y = y[:, 1:-1, 1:-1]
        else:
            y = ops.conv(x, kernel, strides=layer.strides, padding=layer.padding)
        if remaining and isinstance(remaining[0], layers.MaxPooling2D):
            pool = remaining.pop(0)
            y = ops.max_pool(y, pool.pool_size, pool.strides, pool.padding)
        y = ops.add(y, ops.cast(layer.bias, dtype))
        x = layer.activation(y) if remaining else y
    return ops.cast(x, "float32")


def _summed_taps(kernel: Any) -> Any:
    """Return the 4 x 4 kernel of a transposed convolution that equals upsampling by 2, then ``kernel`` (3 x 3)."""
    from keras import ops

    # Row t of the large kernel meets the rows of the small one that fall on the same low-resolution pixel.
    rows = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32)
    mix = np.einsum("ak,bl->abkl", rows, rows).reshape(16, 9)
    inputs, outputs = kernel.shape[2:]
    summed = ops.matmul(ops.cast(mix, kernel.dtype), ops.reshape(kernel, (9, inputs * outputs)))
    return ops.transpose(ops.reshape(summed, (4, 4, inputs, outputs)), (0, 1, 3, 2))
