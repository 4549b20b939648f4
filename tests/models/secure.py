"""A tiny model under secure computation in one process, beside its plain NumPy forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from veilform import fixed, prg
from veilform.correlation import weights as masked_weights
from veilform.correlation.deal import Dealing
from veilform.drive.alternate import Ran
from veilform.drive.lockstep import deal_stocks, run
from veilform.drive.trace import Trace, trace
from veilform.models.bert.calibration import Calibration
from veilform.models.bert.compile import ring_arrays, server_weights
from veilform.models.bert.config import BertConfig
from veilform.models.bert.names import expected_shapes
from veilform.models.bert.plain import PlainBert
from veilform.models.bert.public import PublicPart
from veilform.models.bert.scaling import plan_scales
from veilform.models.bert.secure import Inputs, SecureBert
from veilform.models.bert.sides import one_hot
from veilform.models.bert.stored import StoredTensors
from veilform.models.text import Pair, Text
from veilform.nn.scales import LOGIT, Scales
from veilform.protocol.party import Party
from veilform.roles import CLIENT, SERVER, Role


@dataclass(frozen=True)
class Result:
    """A secure run's answer, the plain model's, and what the run moved."""

    logits: np.ndarray
    flag: int
    plain: np.ndarray
    trace: Trace
    ran: Ran
    dealt: dict[Role, int]
    correction: int
    multiply_adds: dict[Role, int]

    @property
    def error(self) -> float:
        """Largest difference of a logit."""
        return float(np.abs(self.logits - self.plain).max())


@dataclass(frozen=True)
class Tiny:
    """A checkpoint folder with its calibration."""

    folder: Path
    config: BertConfig
    tensors: Mapping[str, np.ndarray]
    public: PublicPart
    calibration: Calibration
    private: bool

    @classmethod
    def load(cls, folder: Path, private: bool = False, calibration: Any = None) -> Tiny:
        public = PublicPart.load(folder)
        tensors = dict(StoredTensors.open(folder, public.config, expected_shapes(public.config)))
        calibration = calibration or Calibration.load(folder)
        return cls(folder, public.config, tensors, public, calibration, private)

    def scales(self, length: int) -> Scales:
        return plan_scales(self.config, self.tensors, self.calibration, length, self.private)

    def run(
        self,
        texts: Sequence[Text | Pair],
        length: int = 32,
        change: Callable[[Inputs], Inputs] = lambda inputs: inputs,
    ) -> Result:
        """Both parties' programs with a dealt stock. ``change`` alters the client's input."""
        scales = self.scales(length)
        net = SecureBert(self.config, scales, len(texts), self.private)
        foreseen = trace(net.abstract)
        manifest = foreseen.manifest("tiny", len(texts), length)
        arrays = list(ring_arrays(self.config, self.tensors, scales, self.private))
        weights = {name: words for name, is_bias, words in arrays if not is_bias}
        seed = prg.fresh_seed()
        common = masked_weights.packed(
            {n: masked_weights.common_part(seed, n, w.shape) for n, w in weights.items()}
        )
        masked = masked_weights.packed(
            {n: masked_weights.dealer_part(seed, n, w) for n, w in weights.items()}
        )
        seeds = {role: prg.fresh_seed() for role in (CLIENT, SERVER)}
        dealt = {CLIENT: 0, SERVER: 0}
        for parts in Dealing(manifest, seeds, masked).run():
            for role in dealt:
                dealt[role] += sum(part.nbytes for part in parts[role])
        stocks = deal_stocks(manifest, common=common, masked=masked, seeds=seeds)

        batch = self.public.encoder.pad(self.public.encoder.encode(texts), (length,))
        tokens = batch.mask.sum(axis=1, keepdims=True)

        def column(scale: int) -> np.ndarray:
            return (np.rint(2.0**scale / tokens) * batch.mask).astype(np.uint64)[..., None]

        if self.private:
            rows = one_hot(self.config, batch)
        else:
            rows = fixed.encode(self.public.embed(batch.ids, batch.types), scales.layers[0].hidden)
        mask_bits = scales.layers[0].attention.mask_bits
        padding = (batch.mask == 0).astype(np.uint64)[..., None]
        inputs = change(Inputs(rows, column(mask_bits), padding, column(scales.head.pool)))

        parties: dict[Role, Party] = {}

        def watched(role: Role, program: Callable[[Party], Any]) -> Callable[[Party], Any]:
            def started(me: Party) -> Any:
                parties[role] = me
                return program(me)

            return started

        programs = {
            CLIENT: watched(CLIENT, net.client(inputs)),
            SERVER: watched(
                SERVER, net.server(server_weights(arrays, self.config.small(self.private)))
            ),
        }
        ran = run(programs, stocks)
        answer = ran.results[CLIENT]
        assert ran.results[SERVER] is None, "the server gets an answer"
        plain = PlainBert.load(self.folder, np.float64)
        return Result(
            fixed.decode(answer.logits, LOGIT),
            int(np.ravel(answer.flag)[0]),
            np.asarray(plain.forward(batch.ids, batch.mask, batch.types)),
            foreseen,
            ran,
            dealt,
            manifest.correction_bytes,
            {role: me.multiply_adds for role, me in parties.items()},
        )
