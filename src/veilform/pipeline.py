"""``veilform.pipeline``: a model's answers, private or plain, in the manner of Hugging Face."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, TypeAlias, TypeVar, overload

from veilform.closing import Closing
from veilform.errors import InputError, ModelError, RangeError
from veilform.models import families
from veilform.models.answers import (
    CLASSIFICATION,
    EMBEDDING,
    IMAGES,
    TASKS,
    Classified,
    Task,
    Vector,
)
from veilform.models.checkpoint import resolve
from veilform.models.text import Pair as PairOfTexts
from veilform.models.text import Text
from veilform.serve.client import Client, InferenceCost
from veilform.serve.local import LocalService
from veilform.serve.remote import remote_client

DEFAULT_MODEL = "minilm-l6-sentiment"
"""The student that ships with Veilform: sentiment of English film reviews."""

Mode = Literal["secure", "plain"]


Given: TypeAlias = str | Mapping[str, str]
"""A text, or a pair as Hugging Face's pipelines take it: {"text": ..., "text_pair": ...}."""
Texts: TypeAlias = Given | Sequence[Given]
Images: TypeAlias = Any
"""A picture: a path, a file's bytes, Pillow's image, an array (H, W, C); or a list of them."""
TOP = 5
"""Labels that an image's answer has, by default."""
_Answer = TypeVar("_Answer")


@overload
def pipeline(
    task: Literal["text-classification"] = ...,
    model: str | Path = ...,
    *,
    mode: Mode = ...,
    private_embedding: bool = ...,
    server: str | None = ...,
    dealer: str | None = ...,
    certificates: str | Path | None = ...,
    stock: str | Path | None = ...,
) -> PlainClassifier | SecureClassifier: ...


@overload
def pipeline(
    task: Literal["image-classification"],
    model: str | Path,
    *,
    mode: Mode = ...,
    server: str | None = ...,
    dealer: str | None = ...,
    certificates: str | Path | None = ...,
    stock: str | Path | None = ...,
) -> PlainImageClassifier | SecureImageClassifier: ...


@overload
def pipeline(
    task: Literal["feature-extraction"],
    model: str | Path,
    *,
    mode: Mode = ...,
    private_embedding: bool = ...,
    server: str | None = ...,
    dealer: str | None = ...,
    certificates: str | Path | None = ...,
    stock: str | Path | None = ...,
) -> PlainEmbedder | SecureEmbedder: ...


def pipeline(
    task: str = CLASSIFICATION.name,
    model: str | Path = DEFAULT_MODEL,
    *,
    mode: Mode = "secure",
    private_embedding: bool = False,
    server: str | None = None,
    dealer: str | None = None,
    certificates: str | Path | None = None,
    stock: str | Path | None = None,
) -> _Plain[Any] | _Secure[Any]:
    """A classifier of texts or images, or a sentence embedder, for ``model``.

    Args:
        task: "text-classification", "feature-extraction" or "image-classification".
        model: a checkpoint folder, the name of a shipped student, or, with ``server``, the client's
            folder that the server's operator exported.
        mode: "secure" computes privately, between three processes; "plain" computes here, to
            compare.
        private_embedding: look words up under secure computation too; for a model whose embeddings
            are the server's secret. Slower: see docs/threat-model.md.
        server, dealer: host:port of a running service. Without them both are started on this
            machine, and end with the pipeline.
        certificates: folder of this client's certificates, for a running service.
        stock: folder for this client's stock; needed with ``server``.

    Raises:
        InputError, ModelError: what was asked cannot be done; the text says what to do.
        ConnectionFailed: the service cannot be reached or started.
    """
    if task not in TASKS:
        raise InputError(f"the task {task!r} is not known; {', '.join(map(repr, TASKS))} are")
    if mode == "plain":
        if any(given is not None for given in (server, dealer, certificates, stock)):
            raise InputError("mode 'plain' takes no server, dealer, certificates or stock")
        if private_embedding and task == IMAGES.name:
            raise InputError("an image model has no embedding to keep private")
        return _CLASSES[task][0](resolve(model))
    if mode != "secure":
        raise InputError(f"mode is 'secure' or 'plain', not {mode!r}")
    secure = _CLASSES[task][1]
    if server is None and dealer is None:
        folder = resolve(model)
        TASKS[task].require(families.described(folder))
        service = LocalService(folder, private_embedding=private_embedding)
        try:
            return secure(service.client(), service)
        except BaseException:
            service.close()
            raise
    if server is None or dealer is None or certificates is None or stock is None:
        raise InputError("a running service needs all of server, dealer, certificates and stock")
    return secure(remote_client(Path(model), server, dealer, Path(certificates), Path(stock)))


class _Plain(Closing, Generic[_Answer]):
    """A model in the clear, in this process.

    Attributes:
        last_cost: always None: nothing is sent.
    """

    last_cost: InferenceCost | None = None
    _task: Task[_Answer]

    def __init__(self, folder: Path) -> None:
        """Raises ModelError if the folder's model is broken, or for another task."""
        self._task.require(families.described(folder))
        self._model = families.clear(folder)

    def _answers(self, inputs: Sequence[Any]) -> list[_Answer]:
        encoder, answers = self._model.encoder, []
        for each in encoder.encode(inputs):
            output = self._model.forward(encoder.pad([each]))[0]
            answers.append(self._task.answer(output, self._model.config))
        return answers

    def close(self) -> None:
        """Nothing to end."""


class _Secure(Closing, Generic[_Answer]):
    """A private model. Close it, or use it in ``with``, to end the service it started.

    Attributes:
        last_cost: of the last input.
    """

    last_cost: InferenceCost | None = None
    _task: Task[_Answer]

    def __init__(self, client: Client, service: LocalService | None = None) -> None:
        """Raises ModelError, and ends the client, if its model is for another task."""
        self._client = client
        self._finish = weakref.finalize(self, _finish, client, service)
        try:
            self._task.require(client.side.config)
        except ModelError:
            self._finish()
            raise

    def _answers(self, inputs: Sequence[Any]) -> list[_Answer]:
        """All inputs are checked before the first is sent; they run one by one."""
        results = list(self.each(inputs))
        for result in results:
            if isinstance(result, RangeError):
                raise result
        return [result for result in results if not isinstance(result, RangeError)]

    def each(self, inputs: Sequence[Any]) -> Iterator[_Answer | RangeError]:
        """The answer of each input as it comes, or the error that says it has none.

        All of them run, whatever the answers: how many runs there are must not tell the server.
        ``last_cost`` is that of the answer just given.

        Args:
            inputs: texts, pairs of texts as tuples, or pictures.

        Raises:
            InputError: for an input that cannot be used, before the first is sent.
            ConnectionFailed, ProtocolError, StockError: the run broke off.
        """
        encoder = self._client.side.encoder
        for number, encoded in enumerate(encoder.encode(inputs), 1):
            try:
                outputs, self.last_cost = self._client.infer(encoder.pad([encoded]))
            except RangeError as error:
                yield RangeError(f"text {number}: {error}")
                continue
            yield self._task.answer(outputs[0], self._client.side.config)

    def close(self) -> None:
        """Ends the connections, and the service if this started it."""
        self._finish()


class _OfTexts(ABC, Generic[_Answer]):
    @abstractmethod
    def _answers(self, inputs: Sequence[Any]) -> list[_Answer]: ...

    def __call__(self, texts: Texts) -> list[_Answer]:
        """The answer of each text, or pair of texts: a list of one for one text.

        All texts are checked before the first runs; they run one by one.

        Raises:
            InputError: for a text that is empty or too long.
            RangeError: one has no private answer.
            ConnectionFailed, ProtocolError, StockError: a private run broke off.
        """
        return self._answers(_as_list(texts))


class _OfImages(ABC):
    @abstractmethod
    def _answers(self, inputs: Sequence[Any]) -> list[list[Classified]]: ...

    def __call__(self, images: Images, top_k: int = TOP) -> Any:
        """The likeliest labels of a picture, at most ``top_k``; a list of such lists for a list.

        As Hugging Face's: ``[{"label": ..., "score": ...}, ...]``. All pictures are read before the
        first runs; they run one by one.

        Args:
            images: a path, a file's bytes, Pillow's image, pixels (H, W, C) as uint8, or floats as
                the network takes them; or a list of these.

        Raises:
            InputError: for what is no picture, or one that does not fit.
            ConnectionFailed, ProtocolError, StockError: a private run broke off.
        """
        if top_k < 1:
            raise InputError(f"top_k is at least 1, not {top_k}")
        several = isinstance(images, list | tuple)
        given = [Path(each) if isinstance(each, str) else each
                 for each in (images if several else [images])]  # fmt: skip
        ranked = [labels[:top_k] for labels in self._answers(given)]
        return ranked if several else ranked[0]


class PlainClassifier(_Plain[Classified], _OfTexts[Classified]):
    """Label and score of each text, in the clear, in this process."""

    _task = CLASSIFICATION


class SecureClassifier(_Secure[Classified], _OfTexts[Classified]):
    """Label and score of each text, privately."""

    _task = CLASSIFICATION


class PlainImageClassifier(_Plain[list[Classified]], _OfImages):
    """Labels and scores of each picture, in the clear, in this process."""

    _task = IMAGES


class SecureImageClassifier(_Secure[list[Classified]], _OfImages):
    """Labels and scores of each picture, privately."""

    _task = IMAGES


class PlainEmbedder(_Plain[Vector], _OfTexts[Vector]):
    """The mean of each text's last hidden states (D,), in the clear, in this process."""

    _task = EMBEDDING


class SecureEmbedder(_Secure[Vector], _OfTexts[Vector]):
    """The mean of each text's last hidden states (D,), privately; not normalised."""

    _task = EMBEDDING


_CLASSES: Mapping[str, tuple[type[_Plain[Any]], type[_Secure[Any]]]] = {
    CLASSIFICATION.name: (PlainClassifier, SecureClassifier),
    EMBEDDING.name: (PlainEmbedder, SecureEmbedder),
    IMAGES.name: (PlainImageClassifier, SecureImageClassifier),
}


def _as_list(texts: Texts) -> list[Text | PairOfTexts]:
    if isinstance(texts, str | Mapping):
        texts = [texts]
    if not isinstance(texts, Iterable):
        raise InputError(f"expected a text or a list of texts, not {type(texts).__name__}")
    return [_as_pair(text, i) for i, text in enumerate(texts, 1)]


def _as_pair(text: Given, number: int) -> Text | PairOfTexts:
    if not isinstance(text, Mapping):
        return text
    if text.keys() not in ({"text"}, {"text", "text_pair"}):
        raise InputError(f"text {number} must have the keys 'text' and, for a pair, 'text_pair'")
    return (text["text"], text["text_pair"]) if "text_pair" in text else text["text"]


def _finish(client: Client, service: LocalService | None) -> None:
    client.close()
    if service is not None:
        service.close()
