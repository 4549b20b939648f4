"""SPU: all parties as threads of one process, with channels in memory.

SEMI2K has two parties, and its products from a trusted first party; ABY3 has three. Compiled once;
weights and input are shared before the clock starts, which runs until every party has its share of
the result.
"""

import threading
import time
from importlib.metadata import version

import encoder
import jax
import jax.numpy as jnp
import numpy as np
import spu.api
import spu.utils.frontend as frontend
from spu import libspu

PARTIES = {"SEMI2K": 2, "ABY3": 3}


def encode(x, layers):
    seq = x.shape[0]

    def norm(z):
        centred = z - jnp.mean(z, -1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), -1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + encoder.EPSILON)

    def heads(z):
        return z.reshape(seq, encoder.HEADS, encoder.HEAD).transpose(1, 0, 2)

    for query, key, value, output, inner, outer in layers:
        q, k, v = heads(x @ query), heads(x @ key), heads(x @ value)
        e = jnp.square(q @ k.transpose(0, 2, 1) * encoder.HEAD**-0.5 + 5)
        attention = e / jnp.sum(e, -1, keepdims=True)
        context = (attention @ v).transpose(1, 0, 2).reshape(seq, encoder.HIDDEN)
        x = norm(x + context @ output)
        h = x @ inner
        x = norm(x + (0.125 * jnp.square(h) + 0.25 * h + 0.5) @ outer)
    return x


def measure(config, parties, executable, arrays, runs):
    """Seconds of each run, and the result."""
    shared = spu.api.Io(parties, config)
    secret = libspu.Visibility.VIS_SECRET
    shares = [shared.make_shares(array, secret) for array in arrays]
    network = libspu.link.Desc()
    for rank in range(parties):
        network.add_party(f"party{rank}", f"memory{rank}")
    seconds, outputs, together = [], {}, threading.Barrier(parties)

    def party(rank):
        runtime = spu.api.Runtime(libspu.link.create_mem(network, rank), config)
        for name, parts in zip(executable.input_names, shares, strict=True):
            runtime.set_var(name, parts[rank])
        for _ in range(runs + 1):
            together.wait()
            start = time.perf_counter()
            runtime.run(executable)
            together.wait()
            if rank == 0:
                seconds.append(time.perf_counter() - start)
        outputs[rank] = runtime.get_var(executable.output_names[0])

    threads = [threading.Thread(target=party, args=(rank,)) for rank in range(parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds[1:], shared.reconstruct([outputs[rank] for rank in range(parties)])


def main():
    parser = encoder.options(__doc__)
    parser.add_argument("--protocol", choices=PARTIES, default="SEMI2K")
    asked = parser.parse_args()
    x = encoder.rows(asked.seq).astype(np.float32)
    layers = [[w.astype(np.float32) for w in layer] for layer in encoder.weights(asked.layers)]
    arrays = [x, *(w for layer in layers for w in layer)]
    executable, _ = frontend.compile(
        frontend.Kind.JAX, encode, (x, layers), {},
        [f"in{i}" for i in range(len(arrays))],
        [libspu.Visibility.VIS_SECRET] * len(arrays),
        lambda outputs: [f"out{i}" for i in range(len(outputs))],
    )  # fmt: skip
    config = libspu.RuntimeConfig()
    config.protocol = getattr(libspu.ProtocolKind, asked.protocol)
    config.field = libspu.FieldType.FM64
    config.fxp_fraction_bits = 18
    seconds, result = measure(config, PARTIES[asked.protocol], executable, arrays, asked.runs)
    name = f"spu-{asked.protocol.lower()}"
    error = encoder.largest_error(result, asked.seq, asked.layers)
    encoder.report(name, version("spu"), asked, seconds, error)


if __name__ == "__main__":
    main()
