"""How many independent images a class is worth, where the images of a group are right or wrong together."""

from __future__ import annotations

import numpy as np


def effective_members(hits: np.ndarray, classes: np.ndarray, codes: np.ndarray, count: int) -> np.ndarray:
    """Members of each class over the design effect of its recall (Rao and Scott 1992), float64 (count,).

    hits: (N,), share of the repeats in which an image is recognised. classes: (N,) from 0 to count - 1. codes: group of
    each image, (N,), from 0 to G - 1. Class c with m members, m_g of them in group g, has the design effect
    spread + icc (sum m_g^2 / m - 1). icc is the correlation of two images of one class and group, from all classes
    together, since a rare class has few pairs (`pooled_icc`). spread is 1 for one repeat; the mean over repeats varies
    less than one hit does, by what all classes or this class show, whichever is more.
    """
    members = np.bincount(classes, minlength=count)
    recalls = np.bincount(classes, hits, count) / np.maximum(members, 1)
    residuals = hits - recalls[classes]
    binomial = recalls * (1 - recalls)  # variance of one hit
    squares = np.bincount(classes, residuals**2, count)
    own = np.divide(squares, members * binomial, out=np.zeros(count), where=members * binomial > 0)
    pooled = squares.sum() / (members @ binomial) if (members @ binomial) > 0 else 1.0
    spread = np.maximum(own, pooled)
    in_group = np.bincount(codes * count + classes, minlength=(int(codes.max()) + 1) * count).reshape(-1, count)
    clumped = (in_group**2).sum(0) / np.maximum(members, 1) - 1  # other images of its group that an image meets
    effect = spread + pooled_icc(residuals, binomial, classes, codes) * clumped
    return np.divide(members, effect, out=np.zeros(count), where=members > 0)


def pooled_icc(residuals: np.ndarray, binomial: np.ndarray, classes: np.ndarray, codes: np.ndarray) -> float:
    """Correlation of the residuals of two images of one class and group, between 0 and 1.

    The sum of their products over all pairs, over what it would be if they always were right or wrong together. 1
    where no residual varies: groups of images that are all right say nothing of how they are wrong.
    """
    count = len(binomial)
    cell = codes * count + classes
    cells = (int(codes.max()) + 1) * count
    sums, squares = np.bincount(cell, residuals, cells), np.bincount(cell, residuals**2, cells)
    sizes = np.bincount(cell, minlength=cells).reshape(-1, count)
    most = float(((sizes * (sizes - 1)).sum(0) * binomial).sum())
    return float(np.clip((sums**2 - squares).sum() / most, 0.0, 1.0)) if most > 0 else 1.0
