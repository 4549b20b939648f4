"""``veilform.pipeline``: a classifier, private or plain, in the manner of Hugging Face."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np
import numpy.typing as npt

from veilform.closing import Closing
from veilform.correlation.store import StockStore
from veilform.errors import InputError, ModelError, RangeError
from veilform.models.bert.plain import PlainBert
from veilform.models.bert.sides import ClientSide
from veilform.models.checkpoint import resolve
from veilform.models.text import TextEncoder
from veilform.roles import CLIENT, DEALER, SERVER
from veilform.serve.address import parse
from veilform.serve.client import Client, InferenceCost
from veilform.serve.local import LocalService
from veilform.transport import Identity, connect
from veilform.transport.links import named

DEFAULT_MODEL = "minilm-l6-sentiment"
"""The student that ships with Veilform: sentiment of English film reviews."""

Mode = Literal["secure", "plain"]


class Classified(TypedDict):
    """One text's answer, as Hugging Face's pipelines give it."""

    label: str
    score: float


def pipeline(
    task: str = "text-classification",
    model: str | Path = DEFAULT_MODEL,
    *,
    mode: Mode = "secure",
    private_embedding: bool = False,
    server: str | None = None,
    dealer: str | None = None,
    certificates: str | Path | None = None,
    stock: str | Path | None = None,
) -> PlainClassifier | SecureClassifier:
    """A classifier for ``model``.

    Args:
        task: "text-classification".
        model: a checkpoint folder, the name of a shipped student, or, with ``server``, the client's
            folder that the server's operator exported.
        mode: "secure" computes privately, between three processes; "plain" computes here, to
            compare.
        private_embedding: look words up under secure computation too; for a model whose embeddings
            are the server's secret. Slower: see docs/threat-model.md.
        server, dealer: host:port of a running service. Without them both are started on this
            machine, and end with the classifier.
        certificates: folder of this client's certificates, for a running service.
        stock: folder for this client's stock; needed with ``server``.

    Raises:
        InputError, ModelError: what was asked cannot be done; the text says what to do.
        ConnectionFailed: the service cannot be reached or started.
    """
    if task != "text-classification":
        raise InputError(f"the task {task!r} is not known; 'text-classification' is")
    if mode == "plain":
        if any(given is not None for given in (server, dealer, certificates, stock)):
            raise InputError("mode 'plain' takes no server, dealer, certificates or stock")
        return PlainClassifier(resolve(model))
    if mode != "secure":
        raise InputError(f"mode is 'secure' or 'plain', not {mode!r}")
    if server is None and dealer is None:
        service = LocalService(resolve(model), private_embedding=private_embedding)
        try:
            return SecureClassifier(service.client(), service)
        except BaseException:
            service.close()
            raise
    if server is None or dealer is None or certificates is None or stock is None:
        raise InputError("a running service needs all of server, dealer, certificates and stock")
    return SecureClassifier(
        remote_client(Path(model), server, dealer, Path(certificates), Path(stock))
    )


def remote_client(
    public: Path,
    server: str,
    dealer: str,
    certificates: Path,
    stock: Path,
    link: str = "loopback",
) -> Client:
    """A client of a running service.

    Args:
        public: the folder that ``veilform export`` made.
        server, dealer: host:port.
        link: the name of a link that shapes what this side sends.
    """
    if not public.is_dir():
        raise ModelError(
            f"{public} is no folder: with a server, give the folder that `veilform export` made"
        )
    server_at, dealer_at = parse(server), parse(dealer)
    shape = named(link)
    identity = Identity.load(certificates, CLIENT)
    return Client(
        ClientSide(public),
        StockStore(stock, CLIENT),
        lambda: connect(*server_at, identity, SERVER, link=shape),
        lambda: connect(*dealer_at, identity, DEALER, link=shape),
    )


class PlainClassifier(Closing):
    """The same model in the clear, in this process.

    Attributes:
        last_cost: always None: nothing is sent.
    """

    last_cost: InferenceCost | None = None

    def __init__(self, folder: Path) -> None:
        self._model = PlainBert.load(folder)
        self._encoder = TextEncoder.from_folder(folder)

    def __call__(self, texts: str | Sequence[str]) -> list[Classified]:
        """Label and score of each text.

        Raises:
            InputError: for a text that is empty or too long.
        """
        answers = []
        for ids in self._encoder.encode(_as_list(texts)):
            batch = self._encoder.pad([ids])
            logits = self._model.forward(batch.ids, batch.mask, batch.types)[0]
            answers.append(classify(logits, self._model.config.labels))
        return answers

    def close(self) -> None:
        """Nothing to end."""


class SecureClassifier(Closing):
    """The private classifier. Close it, or use it in ``with``, to end the service it started.

    Attributes:
        last_cost: of the last text classified.
    """

    last_cost: InferenceCost | None = None

    def __init__(self, client: Client, service: LocalService | None = None) -> None:
        self._client = client
        self._finish = weakref.finalize(self, _finish, client, service)

    def __call__(self, texts: str | Sequence[str]) -> list[Classified]:
        """Label and score in [0, 1] of each text: a list of one for one text.

        All texts are checked before the first is sent; they run one by one.

        Raises:
            InputError: for a text that is empty or too long; RangeError for one without an answer.
            ConnectionFailed, ProtocolError, StockError: the run broke off.
        """
        results = list(self.each(_as_list(texts)))
        for result in results:
            if isinstance(result, RangeError):
                raise result
        return [result for result in results if not isinstance(result, RangeError)]

    def each(self, texts: Sequence[str]) -> Iterator[Classified | RangeError]:
        """The answer of each text as it comes, or the error that says it has none.

        All texts run, whatever the answers: how many runs there are must not tell the server.
        ``last_cost`` is that of the answer just given.

        Raises:
            InputError: for a text that is empty or too long, before the first is sent.
            ConnectionFailed, ProtocolError, StockError: the run broke off.
        """
        encoder = self._client.side.public.encoder
        for number, ids in enumerate(encoder.encode(texts), 1):
            try:
                logits, self.last_cost = self._client.infer(encoder.pad([ids]))
            except RangeError as error:
                yield RangeError(f"text {number}: {error}")
                continue
            yield classify(logits[0], self._client.side.config.labels)

    def close(self) -> None:
        """Ends the connections, and the service if this started it."""
        self._finish()


def classify(logits: npt.NDArray[np.floating], labels: Sequence[str]) -> Classified:
    """The likeliest label and its softmax probability."""
    shifted = np.exp(logits - logits.max())
    best = int(np.argmax(logits))
    return {"label": labels[best], "score": float(shifted[best] / shifted.sum())}


def _as_list(texts: str | Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        return [texts]
    if not isinstance(texts, Iterable):
        raise InputError(f"expected a text or a list of texts, not {type(texts).__name__}")
    return list(texts)


def _finish(client: Client, service: LocalService | None) -> None:
    client.close()
    if service is not None:
        service.close()
