"""The work that every peer does: encoder layers of BERT-base's sizes, Quad and 2Quad.

Or GELU and softmax, for a peer whose program takes ``--exact``.

Without biases and without a layer norm's gain and bias, which the peers would have to multiply by
as well: that is in their favour. NumPy only, as each peer has an environment of its own.
"""

import argparse
import json
import math
import os

import numpy as np

HIDDEN, HEADS, INNER = 768, 12, 3072
HEAD = HIDDEN // HEADS
EPSILON = 1e-5


def options(description):
    """The command line of every peer's program."""
    parser = argparse.ArgumentParser(description=description.split("\n", 1)[0])
    parser.add_argument("--seq", type=int, default=128, help="tokens (default 128)")
    parser.add_argument("--layers", type=int, default=1, help="encoder layers (default 1)")
    parser.add_argument("--runs", type=int, default=1, help="timed runs, after one more")
    return parser


def weights(layers):
    """For each layer six matrices: query, key, value, output, inner, outer."""
    rng = np.random.default_rng(0)
    shapes = [(HIDDEN, HIDDEN)] * 4 + [(HIDDEN, INNER), (INNER, HIDDEN)]
    return [[0.02 * rng.standard_normal(shape) for shape in shapes] for _ in range(layers)]


def rows(seq):
    """The input: one text's hidden states."""
    return 0.5 * np.random.default_rng(1).standard_normal((seq, HIDDEN))


def softmax(scores):
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def gelu(x):
    return x * (0.5 + 0.5 * np.vectorize(math.erf)(x / np.sqrt(2)))


def twoquad(scores):
    e = (scores + 5) ** 2
    return e / e.sum(-1, keepdims=True)


def quad(x):
    return x**2 / 8 + x / 4 + 0.5


def reference(x, matrices, exact=False):
    """The same on plain numbers."""
    attend, activate = (softmax, gelu) if exact else (twoquad, quad)

    def norm(z):
        centred = z - z.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)

    for query, key, value, output, inner, outer in matrices:
        q, k, v = ((x @ w).reshape(-1, HEADS, HEAD).transpose(1, 0, 2) for w in (query, key, value))
        weighted = attend(q @ k.transpose(0, 2, 1) / np.sqrt(HEAD)) @ v
        x = norm(x + weighted.transpose(1, 0, 2).reshape(x.shape) @ output)
        x = norm(x + activate(x @ inner) @ outer)
    return x


def threads_a_party(parties):
    """The machine's cores, divided among the parties that compute at the same time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, cores // parties)


def largest_error(result, seq, layers, exact=False):
    """Of a peer's result, against plain numbers."""
    expected = reference(rows(seq), weights(layers), exact)
    return float(np.abs(np.asarray(result, np.float64) - expected).max())


def report(peer, version, asked, seconds, error, **more):
    """Prints the one line of JSON that bench/peers.py reads."""
    figures = {"peer": peer, "version": version, "seq": asked.seq, "layers": asked.layers}
    figures |= {"seconds": [round(s, 4) for s in seconds], "max_error": round(error, 5), **more}
    print(json.dumps(figures), flush=True)
