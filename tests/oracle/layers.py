"""The paper's layers in plain NumPy, float64, from their formulas alone. Shares nothing with ``alexnet``.

Maps are (N, C, H, W).
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def response_norm(x, size=5, k=2.0, alpha=1e-4, beta=0.75, towers=1):
    """b_i = a_i / (k + alpha sum of a_j^2 over j = max(0, i - n/2) .. min(N - 1, i + n/2)) ** beta (paper 3.3)."""
    out = np.empty_like(x)
    per_tower = x.shape[1] // towers
    for i in range(x.shape[1]):
        first = i // per_tower * per_tower
        low, high = max(first, i - size // 2), min(first + per_tower - 1, i + (size - 1) // 2)
        out[:, i] = x[:, i] / (k + alpha * (x[:, low : high + 1] ** 2).sum(1)) ** beta
    return out


def response_norm_gradient(x, gradient, size=5, k=2.0, alpha=1e-4, beta=0.75, towers=1):
    """What the chain rule makes of it, term by term."""
    out = np.zeros_like(x)
    per_tower = x.shape[1] // towers
    for i in range(x.shape[1]):
        first = i // per_tower * per_tower
        low, high = max(first, i - size // 2), min(first + per_tower - 1, i + (size - 1) // 2)
        scale = k + alpha * (x[:, low : high + 1] ** 2).sum(1)
        out[:, i] += gradient[:, i] * scale**-beta
        for j in range(low, high + 1):
            out[:, j] += gradient[:, i] * x[:, i] * -beta * scale ** (-beta - 1) * 2 * alpha * x[:, j]
    return out


def convolution(x, weights, bias, stride=1, padding=0, groups=1, overhang=0):
    """Cross-correlation, zeros around; ``overhang`` more rows and columns of zeros at the far edges."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding + overhang), (padding, padding + overhang)))
    size = weights.shape[-1]
    inputs, outputs = x.shape[1] // groups, weights.shape[0] // groups
    parts = []
    for g in range(groups):
        windows = sliding_window_view(x[:, g * inputs : (g + 1) * inputs], (size, size), (2, 3))
        windows = windows[:, :, ::stride, ::stride]
        part = np.tensordot(windows, weights[g * outputs : (g + 1) * outputs], ((1, 4, 5), (1, 2, 3)))
        parts.append(part.transpose(0, 3, 1, 2))
    return np.concatenate(parts, 1) + bias[:, None, None]


def max_pool(x, size=3, stride=2):
    """The largest of each window; a last window that hangs over the edge sees what there is."""
    outputs = [1 + -(-(n - size) // stride) for n in x.shape[2:]]
    out = np.empty((*x.shape[:2], *outputs))
    for i in range(outputs[0]):
        for j in range(outputs[1]):
            top, left = i * stride, j * stride
            out[:, :, i, j] = x[:, :, top : top + size, left : left + size].max((2, 3))
    return out


def relu(x):
    """max(0, x)"""
    return np.where(x > 0, x, 0.0)


def alexnet(images, p):
    """The paper's net at test time: (N, 3, 224, 224) float64 and its parameters to (N, classes) scores.

    Section 3.5 layer by layer; dropout's factor of one half at test, section 4.2.
    """
    x = relu(convolution(images, p["conv1.weight"], p["conv1.bias"], 4, 0, 1, overhang=3))
    x = max_pool(response_norm(x, towers=2))
    x = relu(convolution(x, p["conv2.weight"], p["conv2.bias"], 1, 2, 2))
    x = max_pool(response_norm(x, towers=2))
    x = relu(convolution(x, p["conv3.weight"], p["conv3.bias"], 1, 1, 1))
    x = relu(convolution(x, p["conv4.weight"], p["conv4.bias"], 1, 1, 2))
    x = max_pool(relu(convolution(x, p["conv5.weight"], p["conv5.bias"], 1, 1, 2)))
    x = x.reshape(len(x), -1)
    x = 0.5 * relu(x @ p["fc6.weight"].T + p["fc6.bias"])
    x = 0.5 * relu(x @ p["fc7.weight"].T + p["fc7.bias"])
    return x @ p["fc8.weight"].T + p["fc8.bias"]
