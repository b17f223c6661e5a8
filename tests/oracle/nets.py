"""All nets of `../shared/original.md` in plain NumPy, float64, forward and backward, from its tables alone.

Shares nothing with ``alexnet``. A net is a list of steps; each step's function returns its output and a function that
turns the gradient of the output into that of the input and of the step's parameters.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tests.oracle import layers


def conv(size, stride=1, padding=0, groups=1, up=False):
    """Convolution; ``up`` rounds the output's size up, zeros hanging over the far edges."""

    def run(x, w, b):
        n = x.shape[2]
        span = n + 2 * padding - size
        outputs = 1 + (-(-span // stride) if up else span // stride)
        over = max(0, (outputs - 1) * stride + size - n - 2 * padding)
        whole = np.pad(x, ((0, 0), (0, 0), (padding, padding + over), (padding, padding + over)))
        y = layers.convolution(x, w, b, stride, padding, groups, over)

        def back(g):
            inputs, filters = x.shape[1] // groups, w.shape[0] // groups
            dx, dw = np.zeros_like(whole), np.zeros_like(w)
            for part in range(groups):
                own, its = slice(part * inputs, (part + 1) * inputs), slice(part * filters, (part + 1) * filters)
                flat = g[:, its].transpose(1, 0, 2, 3).reshape(filters, -1)  # (filters, images x places)
                for i in range(size):
                    for j in range(size):
                        rows = slice(i, i + stride * (g.shape[2] - 1) + 1, stride)
                        columns = slice(j, j + stride * (g.shape[3] - 1) + 1, stride)
                        seen = whole[:, own, rows, columns].transpose(1, 0, 2, 3)
                        dw[its, :, i, j] = flat @ seen.reshape(inputs, -1).T
                        dx[:, own, rows, columns] += (
                            (w[its, :, i, j].T @ flat).reshape(seen.shape).transpose(1, 0, 2, 3)
                        )
            return dx[:, :, padding : padding + n, padding : padding + n], dw, g.sum((0, 2, 3))

        return y, back

    return run


def local(size, padding):
    """Locally connected, a filter and a bias for each place: w is (filters, maps, size, size, rows, columns)."""

    def run(x, w, b):
        whole = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
        windows = sliding_window_view(whole, (size, size), (2, 3))  # (n, maps, rows, columns, size, size)
        y = np.einsum("ncyxij,fcijyx->nfyx", windows, w) + b

        def back(g):
            dw = np.einsum("ncyxij,nfyx->fcijyx", windows, g)
            dx = np.zeros_like(whole)
            for i in range(size):
                for j in range(size):
                    dx[:, :, i : i + g.shape[2], j : j + g.shape[3]] += np.einsum("nfyx,fcyx->ncyx", g, w[:, :, i, j])
            return dx[:, :, padding : padding + x.shape[2], padding : padding + x.shape[3]], dw, g.sum(0)

        return y, back

    return run


def pool(kind, size=3, stride=2):
    """Pooling rounded up; the average divides by the part of the window that lies inside."""

    def run(x):
        outputs = 1 + -(-(x.shape[2] - size) // stride)
        places = [(i, j) for i in range(outputs) for j in range(outputs)]
        y = np.empty((*x.shape[:2], outputs, outputs))
        for i, j in places:
            window = x[:, :, i * stride : i * stride + size, j * stride : j * stride + size]
            y[:, :, i, j] = window.max((2, 3)) if kind == "max" else window.mean((2, 3))

        def back(g):
            dx = np.zeros_like(x)
            for i, j in places:
                where = np.s_[:, :, i * stride : i * stride + size, j * stride : j * stride + size]
                window = x[where]
                if kind == "max":
                    share = window == y[:, :, i, j, None, None]
                    share = share / share.sum((2, 3), keepdims=True)
                else:
                    share = np.full(window.shape, 1 / (window.shape[2] * window.shape[3]))
                dx[where] += share * g[:, :, i, j, None, None]
            return (dx,)

        return y, back

    return run


def norm(size, k, alpha, beta=0.75, towers=1):
    """Across maps, within each tower; ``alpha`` as it multiplies the sum."""

    def run(x):
        y = layers.response_norm(x, size, k, alpha, beta, towers)
        return y, lambda g: (layers.response_norm_gradient(x, g, size, k, alpha, beta, towers),)

    return run


def within(size, k, alpha, beta=0.75):
    """Within each map: the squares of a neighborhood clipped at the borders."""

    def total(x):
        half = size // 2
        whole = np.pad(x, ((0, 0), (0, 0), (half, half), (half, half)))
        return sliding_window_view(whole, (size, size), (2, 3)).sum((4, 5))

    def run(x):
        s = k + alpha * total(x * x)
        y = x * s**-beta
        return y, lambda g: (g * s**-beta - 2 * alpha * beta * x * total(g * x * s ** (-beta - 1)),)

    return run


def relu(x):
    """max(0, x)"""
    return np.maximum(x, 0), lambda g: (g * (x > 0),)


def full(x, w, b):
    """Fully connected; maps are flattened map by map."""
    flat = x.reshape(len(x), -1)
    return flat @ w.T + b, lambda g: ((g @ w).reshape(x.shape), g.T @ flat, g.sum(0))


def drop(layer, training, test):
    """Units times a mask of 0 and 1; what is left times ``training`` or, without masks, all times ``test``."""

    def run(x, masks):
        factor = training * masks[layer].reshape(x.shape) if masks else test
        return x * factor, lambda g: (g * factor,)

    run.masked = True
    return run


PAPER_DROP = {"training": 1.0, "test": 0.5}  # not rescaled; halved at test
INVERTED = {"training": 2.0, "test": 1.0}


def head(dropout):
    """fc6, fc7 with dropout, fc8."""
    return [
        *(("fc6", full), ("", relu), ("", drop("fc6", **dropout))),
        *(("fc7", full), ("", relu), ("", drop("fc7", **dropout))),
        ("fc8", full),
    ]


def source(towers, sixth=False):
    """Number 145 (two towers), 145-half (one), 146 (a sixth convolution)."""
    return [
        *(("conv1", conv(11, 4, up=True)), ("", norm(5, 2, 1e-4 / 5, towers=towers)), ("", pool("max")), ("", relu)),
        *(("conv2", conv(5, 1, 2, towers)), ("", relu), ("", norm(5, 2, 1e-4 / 5, towers=towers))),
        *(("", within(5, 1, 1e-3 / 25)), ("", pool("max"))),
        *(("conv3", conv(3, 1, 1)), ("", relu), ("conv4", conv(3, 1, 1, towers)), ("", relu)),
        *(("conv5", conv(3, 1, 1, towers)), ("", pool("max")), ("", relu)),
        *((("conv6", conv(3, 1, 1)), ("", relu)) if sixth else ()),
        *head(PAPER_DROP),
    ]


PAPER = [
    *(("conv1", conv(11, 4, up=True)), ("", relu), ("", norm(5, 2, 1e-4, towers=2)), ("", pool("max"))),
    *(("conv2", conv(5, 1, 2, 2)), ("", relu), ("", norm(5, 2, 1e-4, towers=2)), ("", pool("max"))),
    *(("conv3", conv(3, 1, 1)), ("", relu), ("conv4", conv(3, 1, 1, 2)), ("", relu)),
    *(("conv5", conv(3, 1, 1, 2)), ("", relu), ("", pool("max"))),
    *head(PAPER_DROP),
]


def caffe(norm_first):
    """BVLC's two: norms over all maps, alpha divided by the size, k 1."""
    after = [("", norm(5, 1, 1e-4 / 5)), ("", pool("max"))]
    after = after if norm_first else after[::-1]
    return [
        *(("conv1", conv(11, 4)), ("", relu), *after, ("conv2", conv(5, 1, 2, 2)), ("", relu), *after),
        *(("conv3", conv(3, 1, 1)), ("", relu), ("conv4", conv(3, 1, 1, 2)), ("", relu)),
        *(("conv5", conv(3, 1, 1, 2)), ("", relu), ("", pool("max"))),
        *head(INVERTED),
    ]


TORCHVISION = [
    *(
        ("conv1", conv(11, 4, 2)),
        ("", relu),
        ("", pool("max")),
        ("conv2", conv(5, 1, 2)),
        ("", relu),
        ("", pool("max")),
    ),
    *(("conv3", conv(3, 1, 1)), ("", relu), ("conv4", conv(3, 1, 1)), ("", relu), ("conv5", conv(3, 1, 1)), ("", relu)),
    *(("", pool("max")), ("", drop("fc6", **INVERTED)), ("fc6", full), ("", relu)),
    *(("", drop("fc7", **INVERTED)), ("fc7", full), ("", relu), ("fc8", full)),
]


def cifar(normed):
    """80 seconds, and 18% with its norms and without the hidden layer."""
    between = [("", within(3, 1, 5e-5 / 9))] if normed else []
    return [
        *(("conv1", conv(5, 1, 2)), ("", pool("max")), ("", relu), *between),
        *(("conv2", conv(5, 1, 2)), ("", relu), ("", pool("average")), *between),
        *(("conv3", conv(5, 1, 2)), ("", relu), ("", pool("average"))),
        *(() if normed else (("fc64", full), ("", relu))),
        ("fc10", full),
    ]


def cifar_local(normed):
    """13%, and 11% with its norms."""
    between = [("", norm(9, 1, 0.001 / 9))] if normed else []
    first, second = [("", pool("max")), *between], [*between, ("", pool("max"))]
    return [
        *(("conv1", conv(5, 1, 2)), ("", relu), *first, ("conv2", conv(5, 1, 2)), ("", relu), *second),
        *(("local3", local(3, 1)), ("", relu), ("local4", local(3, 1)), ("", relu), ("fc10", full)),
    ]


NETS = {
    "source": source(2),
    "paper": PAPER,
    "one-gpu": source(1),
    "conv6": source(2, sixth=True),
    "caffe": caffe(norm_first=True),
    "caffenet": caffe(norm_first=False),
    "torchvision": TORCHVISION,
    "cifar-quick": cifar(normed=False),
    "cifar-18": cifar(normed=True),
    "cifar-13": cifar_local(normed=False),
    "cifar-11": cifar_local(normed=True),
}


def softmax_loss(scores, labels):
    """Mean of -log soft-max of the right class, and its gradient."""
    shifted = scores - scores.max(1, keepdims=True)
    shares = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
    rows = np.arange(len(labels))
    gradient = shares.copy()
    gradient[rows, labels] -= 1
    return -np.log(shares[rows, labels]).mean(), gradient / len(labels)


def run(net, x, p, masks=None):
    """A net's scores, and what turns their gradient into those of all parameters and of the images.

    Args:
        net: a list of steps.
        x: (N, C, H, W) float64.
        p: parameters by name.
        masks: for each layer with dropout (N, units) of 0 and 1, in training; None at test.
    """
    backs = []
    for name, step in net:
        arguments = (p[f"{name}.weight"], p[f"{name}.bias"]) if name else ()
        arguments = (masks,) if hasattr(step, "masked") else arguments
        x, back = step(x, *arguments)
        backs.append((name, back))

    def backward(gradient):
        found = {}
        for name, back in reversed(backs):
            gradient, *own = back(gradient)
            if own:
                found[f"{name}.weight"], found[f"{name}.bias"] = own
        return {**found, "images": gradient}

    return x, backward
