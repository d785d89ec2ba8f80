"""Weights of which two in every four go (N:M sparsity 2:4), so that little is lost."""

from __future__ import annotations

import itertools

import numpy as np

from qcompile.hardware.units.sparse import BLOCK, KEPT

PAIRS = np.array(list(itertools.combinations(range(BLOCK), BLOCK - KEPT)))  # that may go
SWEEPS = 8  # over the weights that stay
RELATIVE = 2.0**-20  # of the harm of a pair: less does not decide


def halved(w: np.ndarray, h: np.ndarray, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(weights, which of them are gone) of a layer w (outputs, terms), two of every block of an output. h: covariance
    of the inputs, (terms, terms); blocks: terms, (blocks, 4).

    Block after block goes the pair that harms an output least, w_S (H^-1_SS)^-1 w_S, and all terms behind make up for
    it (SparseGPT, Frantar and Alistarh 2023, arXiv 2301.00774, section 3.4); then those that stay are fitted anew.
    """
    found, inverse, gone = w.copy(), np.linalg.inv(h), np.zeros(w.shape, dtype=bool)
    for block in blocks:
        own = inverse[np.ix_(block, block)]
        small = np.linalg.inv(own[PAIRS[:, :, None], PAIRS[:, None, :]])
        part = found[:, block[PAIRS]]
        harm = np.einsum("opk,pkl,opl->op", part, small, part)
        least = harm.min(axis=1, keepdims=True)
        pair = np.argmax(harm <= least + RELATIVE * np.abs(least), axis=1)
        for place, lost in enumerate(block[PAIRS]):
            rows = np.flatnonzero(pair == place)
            found[rows] -= found[np.ix_(rows, lost)] @ small[place] @ inverse[lost]
            gone[np.ix_(rows, lost)] = True
        inverse = inverse - inverse[:, block] @ np.linalg.solve(own, inverse[block])
        inverse[block], inverse[:, block] = 0, 0
    return _settled(w, h, np.where(gone, 0, found), gone), gone


def _settled(w: np.ndarray, h: np.ndarray, found: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """The weights that stay, each in turn where the outputs are nearest to those of w."""
    off = (found - w) @ h
    for _ in range(SWEEPS):
        for k in range(w.shape[1]):
            move = np.where(gone[:, k], 0, -off[:, k] / h[k, k])
            found[:, k] += move
            off += move[:, None] * h[k]
    return found
