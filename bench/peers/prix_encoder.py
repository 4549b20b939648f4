"""PriX: two parties on this machine, in its CrypTen mode, the fastest for Quad and 2Quad.

Weights are shared before the clock starts; it runs from the sharing of the input to the opening of
the result. The first run, which compiles, is not counted.
"""

import os
import time
from importlib.metadata import version

import encoder
import numpy as np

os.environ["JAX_PLATFORMS"] = "cpu"

MODE = "crypten"


def program(seq, layers, runs):
    """What each party runs: seconds of each run, and the largest error."""
    import jax.numpy as jnp
    import prix

    matrices = [
        [prix.array(jnp.array(w), src=0) for w in layer] for layer in encoder.weights(layers)
    ]
    seconds = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        x = prix.array(jnp.array(encoder.rows(seq)), src=1)
        for layer in matrices:
            x = encode(x, layer, seq)
        result = np.array(x.reconstruct())
        seconds.append(time.perf_counter() - start)
    return seconds[1:], encoder.largest_error(result, seq, layers)


def encode(x, layer, seq):
    query, key, value, output, inner, outer = layer

    def heads(z):
        return z.reshape(seq, encoder.HEADS, encoder.HEAD).permute(1, 0, 2)

    q, k, v = heads(x @ query), heads(x @ key), heads(x @ value)
    shifted = (q @ k.transpose(1, 2)) * encoder.HEAD**-0.5 + 5
    # Of the mean, not of the sum, which is beyond the range of its reciprocal.
    e = shifted * shifted
    attention = (e * (1 / seq)) * e.mean(-1, keepdim=True).reciprocal()
    context = (attention @ v).permute(1, 0, 2).reshape(seq, encoder.HIDDEN)
    x = norm(x + context @ output)
    h = x @ inner
    return norm(x + ((h * h) * 0.125 + h * 0.25 + 0.5) @ outer)


def norm(x):
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred * centred).mean(-1, keepdim=True)
    return centred * (variance + encoder.EPSILON).inv_sqrt()


def main():
    import prix

    asked = encoder.options(__doc__).parse_args()

    def run():
        return program(asked.seq, asked.layers, asked.runs)

    answers = prix.run(run, world_size=2, mode=MODE)
    seconds, error = answers[0] if isinstance(answers, list) else answers
    encoder.report(f"prix-{MODE}", version("prix-jax"), asked, seconds, error)


if __name__ == "__main__":
    main()
