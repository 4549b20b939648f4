"""CrypTen: two processes over Gloo on loopback, products from a trusted first party.

Weights are shared before the clock starts; it runs from the sharing of the input to the opening of
the result.
"""

import multiprocessing
import os
import socket
import sys
import time
import types
from importlib.metadata import version

import encoder


class _Anything:
    """Stands in for a registry of PyTorch's that CrypTen imports and does not need."""

    def __getattr__(self, name):
        return self

    def __call__(self, *args, **kwargs):
        return self


def party(rank, port, asked, queue):
    module = types.ModuleType("torch.onnx._internal.registration")
    module.registry = _Anything()
    sys.modules[module.__name__] = module
    os.environ.update(
        RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
        RENDEZVOUS="env://", GLOO_SOCKET_IFNAME="lo",
    )  # fmt: skip
    import crypten
    import crypten.communicator as communicator
    import torch
    from crypten.config import cfg

    torch.set_num_threads(encoder.threads_a_party(2))
    crypten.init()
    cfg.communicator.verbose = True  # counts what is sent

    def secret(array, owner):
        return crypten.cryptensor(torch.tensor(array, dtype=torch.float32), src=owner)

    matrices = [[secret(w, 0) for w in layer] for layer in encoder.weights(asked.layers)]
    seconds = []
    with crypten.no_grad():
        for _ in range(asked.runs + 1):
            communicator.get().barrier()
            before = dict(communicator.get().get_communication_stats())
            start = time.perf_counter()
            x = secret(encoder.rows(asked.seq), 1)
            for layer in matrices:
                x = encode(x, layer, asked.seq, asked.exact)
            result = x.get_plain_text()
            seconds.append(time.perf_counter() - start)
            after = communicator.get().get_communication_stats()
    if rank == 0:
        moved = {f"{name}_a_party": after[name] - before[name] for name in ("bytes", "rounds")}
        queue.put((seconds[1:], result.numpy(), moved))


def encode(x, layer, seq, exact):
    query, key, value, output, inner, outer = layer
    q, k, v = (
        x.matmul(w).view(seq, encoder.HEADS, encoder.HEAD).permute(1, 0, 2)
        for w in (query, key, value)
    )
    scores = q.matmul(k.transpose(-1, -2)) / encoder.HEAD**0.5
    if exact:
        attention = scores.softmax(-1)
    else:
        # Of the mean, not of the sum: its Newton iteration diverges for inputs above some 600.
        e = (scores + 5).square()
        attention = (e / seq) * e.mean(-1, keepdim=True).reciprocal()
    context = attention.matmul(v).permute(1, 0, 2).reshape(seq, encoder.HIDDEN)
    x = norm(x + context.matmul(output))
    h = x.matmul(inner)
    if exact:
        active = h * ((h / 2**0.5).erf() * 0.5 + 0.5)
    else:
        active = h.square() * 0.125 + h * 0.25 + 0.5
    return norm(x + active.matmul(outer))


def norm(x):
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return centred * (variance + encoder.EPSILON).inv_sqrt()


def main():
    parser = encoder.options(__doc__)
    parser.add_argument("--exact", action="store_true", help="GELU and softmax")
    asked = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    parties = [context.Process(target=party, args=(r, port, asked, queue)) for r in (0, 1)]
    for each in parties:
        each.start()
    seconds, result, moved = queue.get(timeout=600)
    for each in parties:
        each.join()
    error = encoder.largest_error(result, asked.seq, asked.layers, asked.exact)
    encoder.report("crypten", version("crypten"), asked, seconds, error, **moved)


if __name__ == "__main__":
    main()
