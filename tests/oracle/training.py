"""The 2012 source's training in plain NumPy, float64, from `../shared/original.md` alone: images, update, schedule.

What is random (order, crops, mirrors, noise, masks) comes in as numbers.
"""

import numpy as np

from tests.oracle import nets


def colors(images):
    """(n, H, W, 3) uint8 training images: mean image (H, W, 3), and eigenvectors and deviations of RGB's covariance."""
    pixels = images.reshape(-1, 3).astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(pixels.T, bias=True))
    return images.mean(0, dtype=np.float64), vectors, np.sqrt(values)


def crop_of(image, corner, mirrored, side, mean, shift, divisor):
    """Crop and mirror, subtract the mean's own center crop, add the noise, divide; (3, side, side)."""
    top, left = corner
    view = image[top : top + side, left : left + side].astype(np.float64)
    view = view[:, ::-1] if mirrored else view
    edge = (len(image) - side) // 2
    view = view - mean[edge : edge + side, edge : edge + side] + shift
    return (view / divisor).transpose(2, 0, 1)


def ten_views(image, side, mean, scores):
    """Soft-max outputs averaged over corners, center and their mirrors (paper 4.1); ``scores`` of (1, 3, ...)."""
    far = len(image) - side
    found = []
    for corner in ((0, 0), (0, far), (far, 0), (far, far), (far // 2, far // 2)):
        for mirrored in (False, True):
            score = scores(crop_of(image, corner, mirrored, side, mean, 0.0, 1.0)[None])[0]
            share = np.exp(score - score.max())
            found.append(share / share.sum())
    return np.mean(found, 0)


def rates(name, epoch, schedule):
    """Of a tensor at an epoch: weights fall by ten, biases stay, conv1 is cut ahead of the others and then frozen."""
    layer, kind = name.split(".")
    if layer == "conv1" and epoch >= schedule["frozen"]:
        return 0.0
    if kind == "bias":
        return 0.02
    if layer == "conv1" and epoch >= schedule["cut"]:
        return 1e-5
    return 0.01 / 10 ** sum(epoch >= fall for fall in schedule["falls"])


class Training:
    """Weights and velocities; ``v <- 0.9 v + eps * ascent - eps * 0.0005 * w; w <- w + v``, biases without decay."""

    def __init__(self, net, start, schedule):
        self.net, self.schedule = net, schedule
        self.w = {name: value.astype(np.float64) for name, value in start.items()}
        self.v = {name: np.zeros_like(value) for name, value in self.w.items()}

    def step(self, images, labels, masks, epoch):
        """One mini-batch; returns its loss."""
        scores, backward = nets.run(self.net, images, self.w, masks)
        loss, gradient = nets.softmax_loss(scores, labels)
        found = backward(gradient)
        for name, w in self.w.items():
            eps = rates(name, epoch, self.schedule)
            if eps == 0:
                continue
            decay = 0.0 if name.endswith(".bias") else 0.0005
            self.v[name] = 0.9 * self.v[name] - eps * found[name] - eps * decay * w
            self.w[name] = w + self.v[name]
        return loss
