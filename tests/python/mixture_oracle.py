"""Eq. 4 to 8 in float64 NumPy, written straight from the paper, with their derivatives."""

from __future__ import annotations

import numpy as np


def log_posteriors(w, mu, pi, gamma):
    """log(pi_k N_k(w)) without the constant -log sqrt(2 pi), float64 `[n, K]`."""
    w, mu, pi, gamma = (np.asarray(x, np.float64) for x in (w, mu, pi, gamma))
    share = np.abs(pi) / np.abs(pi).sum()
    with np.errstate(divide="ignore"):
        return np.log(share) - np.log(gamma) - 0.5 * ((w.reshape(-1, 1) - mu) / gamma) ** 2


def _softmax(x):
    x = np.exp(x - x.max(axis=1, keepdims=True))
    return x / x.sum(axis=1, keepdims=True)


def responsibilities(w, mu, pi, gamma, posterior):
    """Eq. 6, `[n, K]`."""
    score = log_posteriors(w, mu, pi, gamma)
    return _softmax(score if posterior == "mixture" else np.exp(score) / np.sqrt(2 * np.pi))


def soft_weights(w, mu, pi, gamma, tau, posterior):
    """Eq. 7 and 8, `[n]`."""
    indicator = _softmax(responsibilities(w, mu, pi, gamma, posterior) / np.float64(tau))
    return indicator @ np.asarray(mu, np.float64)


def gradients(w, upstream, mu, pi, gamma, tau, posterior):
    """d(upstream . soft_weights) with respect to (w, mu, pi, gamma, tau); see the closed forms in `mixture_blocks`."""
    r = responsibilities(w, mu, pi, gamma, posterior)
    w, g, mu, pi, gamma = (np.asarray(x, np.float64) for x in (w, upstream, mu, pi, gamma))
    w, g, tau = w.reshape(-1, 1), g.reshape(-1, 1), np.float64(tau)
    p = _softmax(r / tau)
    d = p * (mu - (p @ mu)[:, None]) / tau
    mean = (r * d).sum(axis=1, keepdims=True)
    e = r * (d - mean) * g
    if posterior == "paper":
        e = e * np.exp(log_posteriors(w, mu, pi, gamma)) / np.sqrt(2 * np.pi)
    z = (w - mu) / gamma
    size = np.abs(pi)
    return (
        -(e * z / gamma).sum(axis=1),
        (p * g + e * z / gamma).sum(axis=0),
        np.sign(pi) * (e.sum(axis=0) / size - e.sum() / size.sum()),
        (e * (z * z - 1) / gamma).sum(axis=0),
        -(mean * g).sum() / tau,
    )


def tau_slopes(w, upstream, mu, pi, gamma, tau, posterior):
    """The terms of the gradient with respect to tau, `[n]`."""
    r = responsibilities(w, mu, pi, gamma, posterior)
    p = _softmax(r / np.float64(tau))
    mu = np.asarray(mu, np.float64)
    return -(r * p * (mu - (p @ mu)[:, None])).sum(axis=1) / np.float64(tau) ** 2 * np.asarray(upstream, np.float64)
