"""DC-VAE's two networks under secure computation beside PyTorch's: images, differences, costs.

    python bench/dcvae_private.py MODEL

MODEL is a folder of `veilform dcvae fit`, or a cell's of bench/dcvae.py. 64 latents are drawn from
the prior and 64 held-out images encoded, by client, server and dealer in one process (bytes are
those of the channel), and compared with the trained networks in floating point. Pictures go to
docs/figures/dcvae_private.png: rows of plain images, the same privately, and their differences,
128 times as large. Costs of the paper's widths are from a trace, with random weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from veilform import fixed, prg
from veilform.bench import machine
from veilform.correlation import weights as masked_weights
from veilform.drive.lockstep import deal_stocks, run
from veilform.drive.trace import Trace, trace
from veilform.models.bert.sides import Shape
from veilform.models.vision.generative import Decoder, Encoder
from veilform.models.vision.scaling import PIXEL, plan
from veilform.models.vision.secure import SecureNetwork
from veilform.models.vision.sides import ServerSide
from veilform.nn.scales import LOGIT
from veilform.roles import CLIENT, SERVER
from veilform.vision import fashion
from veilform.vision.dcvae.images import as_bytes, grid, write_png
from veilform.vision.dcvae.model import DCVAE
from veilform.vision.dcvae.private import as_pixels, as_reals, prepare
from veilform.vision.dcvae.stored import DECODER, ENCODER

RESULTS = Path(__file__).parent / "results" / "dcvae_private.json"
PICTURE = Path(__file__).parents[1] / "docs" / "figures" / "dcvae_private.png"
COUNT, BATCH, SHOWN = 64, 4, 16
LOUDER = 128


def privately(side: ServerSide, inputs: np.ndarray) -> np.ndarray:
    """Answers of a client, BATCH inputs a run."""
    seed = prg.fresh_seed()
    common = {
        name: masked_weights.common_part(seed, name, shape)
        for name, shape in side.weight_shapes.items()
    }
    names = list(side.weight_shapes)
    masked = dict(zip(names, side.masked(seed), strict=True))
    packed = masked_weights.packed(common), masked_weights.packed(masked)
    server, found = side.server_weights(1), []
    for start in range(0, len(inputs), BATCH):
        part = inputs[start : start + BATCH]
        shape = Shape(len(part), 1)
        foreseen = side.trace(shape)
        stocks = deal_stocks(side.manifest(shape, "0" * 64), common=packed[0], masked=packed[1])
        program = side.program(shape)
        client = program.client(fixed.encode(part, PIXEL))
        ran = run({CLIENT: client, SERVER: program.server(server)}, stocks)
        for role, wanted in ((CLIENT, foreseen.up), (SERVER, foreseen.down)):
            sent = tuple(sum(one.nbytes for one in message) for message in ran.sent[role])
            assert sent == wanted, "other bytes on the channel than foreseen"
        found.append(fixed.decode(ran.results[CLIENT].logits, LOGIT))
        print(f"{start + len(part)} of {len(inputs)}", flush=True)
    return np.concatenate(found)


def cost(one: Trace) -> dict[str, float]:
    """Of one image."""
    total = one.total
    return {
        "up_mb": round(total.up / 1e6, 3),
        "down_mb": round(total.down / 1e6, 3),
        "dealt_client_mb": round(total.dealt_client / 1e6, 2),
        "dealt_server_mb": round(total.dealt_server / 1e6, 2),
        "corrections_mb": round(total.correction / 1e6, 3),
        "messages": one.messages,
        "multiply_adds_m": round(total.server_multiply_adds / 1e6, 2),
    }


def of_paper() -> dict[str, dict[str, float]]:
    """Costs of the published widths on 32 x 32 colour images: weights random, clipped at 16."""
    found = {}
    sizes = {DECODER: Decoder(32, 3, 128, 256), ENCODER: Encoder(32, 3, 128, 128)}
    for name, family in sizes.items():
        network, random = family.network(), np.random.default_rng(0)
        tensors = {}
        for tensor, shape in network.tensors().items():
            scale = (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.1
            kind = tensor.rsplit(".", 1)[1]
            ones = kind == "running_var" or (kind == "weight" and len(shape) == 1)
            tensors[tensor] = np.ones(shape) if ones else random.normal(0, scale, shape)
        caps = {step.name: 16.0 for step in network.steps}
        scales = plan(network, tensors, caps, family.largest or 1.0)
        program = SecureNetwork(network, scales)
        found[name] = cost(trace(program.abstract))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = DCVAE.from_pretrained(options.model)
    prepare(options.model, fashion.padded("train")[0])
    latents, images = model.latents(COUNT, seed=1), fashion.padded("test")[0][:COUNT]
    with torch.no_grad():
        drawn = model.generator(torch.from_numpy(latents)).permute(0, 2, 3, 1).numpy()
    sides = {name: ServerSide(options.model / name) for name in (DECODER, ENCODER)}
    private = privately(sides[DECODER], as_pixels(latents))
    # Pixels, in units of 1/255 of the range from -1 to 1.
    off = np.abs(private - drawn) * 127.5
    codes = privately(sides[ENCODER], as_reals(images))
    apart = np.abs(codes - model.encode(images))
    config = model.config
    machine.save(
        options.results,
        "python bench/dcvae_private.py MODEL",
        {
            "images": COUNT,
            "sizes": {
                "latent": config.latent, "generator": config.generator, "encoder": config.encoder,
            },
            "decoder": {
                "largest_difference_255ths": round(float(off.max()), 4),
                "mean_difference_255ths": round(float(off.mean()), 4),
                "same_bytes": round(float((as_bytes(private) == as_bytes(drawn)).mean()), 5),
                **cost(sides[DECODER].trace(Shape(1, 1))),
            },
            "encoder": {
                "largest_difference": round(float(apart.max()), 5),
                "mean_difference": round(float(apart.mean()), 6),
                "largest_entry": round(float(np.abs(codes).max()), 3),
                **cost(sides[ENCODER].trace(Shape(1, 1))),
            },
            "paper_widths": of_paper(),
        },
    )  # fmt: skip
    loud = np.clip(off * LOUDER, 0, 255).astype(np.uint8)[:SHOWN]
    rows = [as_bytes(drawn)[:SHOWN], as_bytes(private)[:SHOWN], loud]
    write_png(PICTURE, grid(np.concatenate(rows), SHOWN), 2)


if __name__ == "__main__":
    main()
