"""GET /openapi.json: what the API takes and gives, OpenAPI 3.1. A test holds the API to it."""

from __future__ import annotations

from typing import Any

import veilform
from veilform.gateway.guard import MOST_IMAGE_BYTES
from veilform.gateway.images import MOST_NUMBERS
from veilform.gateway.plain import MOST_TEXTS
from veilform.gateway.running import DEADLINE_S, LONGEST_DEADLINE_S, SHORTEST_DEADLINE_S

Schema = dict[str, Any]

_NUMBER: Schema = {"type": "number"}
_STRING: Schema = {"type": "string"}
_TEXT: Schema = {"type": "string", "pattern": r"[A-Za-z0-9]", "description": "Some words."}
_DEADLINE: Schema = {
    "type": "number", "minimum": SHORTEST_DEADLINE_S, "maximum": LONGEST_DEADLINE_S,
    "default": DEADLINE_S,
    "description": "Seconds after which a 504 is the answer.",
}  # fmt: skip
_REFUSALS = {
    "400": "The input cannot be used: the error says which text and why, never its content.",
    "401": "A token is needed.",
    "403": "The request comes from another site's page.",
    "404": "There is no such model or version.",
    "408": "The body came too slowly.",
    "413": "The body is too large.",
    "415": "The body is not application/json.",
    "421": "The Host header is not one of this gateway's.",
    "422": "A value left the range that the model was calibrated for: there is no answer.",
    "429": "Too many texts wait already.",
    "502": "The server or the dealer cannot be reached, or broke off.",
    "503": "Stock is low, or no session is connected. Retry-After says when to try again.",
    "504": "There was no answer before the deadline.",
}
_EVERYWHERE = ("401", "403", "421")
_RUNS = tuple(_REFUSALS)


def document() -> Schema:
    """The whole of it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Veilform gateway",
            "version": veilform.__version__,
            "description": "Private inference for programs on this machine. Texts end here: what "
            "leaves is masked.",
        },
        "paths": {**_plain(), **_v2()},
        "components": {
            "schemas": {**_schemas(), **_v2_schemas()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _object(required: list[str], /, **properties: Schema) -> Schema:
    return {"type": "object", "required": required, "properties": properties}


def _closed(required: list[str], /, **properties: Schema) -> Schema:
    return {**_object(required, **properties), "additionalProperties": False}


def _list(items: Schema, **bounds: int) -> Schema:
    return {"type": "array", "items": items, **bounds}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _answers(schema: Schema, refusals: tuple[str, ...], kind: str = "application/json") -> Schema:
    problem = {"application/json": {"schema": _ref("Problem")}}
    answers: Schema = {"200": {"description": "Done.", "content": {kind: {"schema": schema}}}}
    for status in refusals:
        answers[status] = {"description": _REFUSALS[status], "content": problem}
    return answers


def _get(name: str, summary: str, schema: Schema, *refusals: str) -> Schema:
    answers = _answers(schema, (*_EVERYWHERE, *refusals))
    return {"operationId": name, "summary": summary, "responses": answers}


def _post(name: str, summary: str, asked: Schema, answer: Schema, kind: str = "") -> Schema:
    return {
        "operationId": name,
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
        "responses": _answers(answer, _RUNS, kind or "application/json"),
    }


def _plain() -> Schema:
    asked = _ref("Asked")
    return {
        "/models": {
            "get": _get("models", "The models offered here.", _object(
                ["models"], models=_list(_ref("Model")),
            )),
        },
        "/classify": {"post": _classify(asked)},
        "/embed": {"post": _post("embed", "Vectors of texts.", asked, _ref("Embedded"))},
        "/ui/classify": {
            "post": _post(
                "follow", "One text, told as it goes: events accepted, progress, answer, failed.",
                _ref("AskedOne"), _ref("Event"), "text/event-stream",
            ),
        },
    }  # fmt: skip


def _classify(asked: Schema) -> Schema:
    """Texts in JSON; or a picture as the body, with the rest in the query."""
    post = _post("classify", "Label texts, or a picture.", asked, _ref("Classified"))
    picture = {"schema": {"type": "string", "format": "binary", "maxLength": MOST_IMAGE_BYTES}}
    post["requestBody"]["content"] |= dict.fromkeys(("image/png", "image/jpeg"), picture)
    post["parameters"] = [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in (("model", _STRING), ("version", _STRING), ("deadline_s", _DEADLINE))
    ]
    return post


def _v2() -> Schema:
    paths: Schema = {
        "/v2": {"get": _get("server", "Server metadata.", _object(
            ["name", "version", "extensions"],
            name=_STRING, version=_STRING, extensions=_list(_STRING),
        ))},
        "/v2/health/live": {"get": _get("live", "Is it up?", _object(
            ["live"], live={"type": "boolean"},
        ))},
        "/v2/health/ready": {"get": _get("ready", "Can it answer?", _object(
            ["ready"], ready={"type": "boolean"},
        ), "503")},
    }  # fmt: skip
    ready = _object(["name", "ready"], name=_STRING, ready={"type": "boolean"})
    for suffix, names in (("", ["name"]), ("/versions/{version}", ["name", "version"])):
        path, word = "/v2/models/{name}" + suffix, "Version" if suffix else ""
        where = {
            "parameters": [
                {"name": name, "in": "path", "required": True, "schema": _STRING} for name in names
            ]
        }
        paths[path] = {
            **where,
            "get": _get(f"model{word}", "Model metadata.", _ref("ModelMetadata"), "404"),
        }
        paths[f"{path}/ready"] = {
            **where,
            "get": _get(f"modelReady{word}", "Can this model answer?", ready, "404", "503"),
        }
        paths[f"{path}/infer"] = {
            **where,
            "post": _post(
                f"infer{word}", "Run texts.", _ref("InferenceRequest"), _ref("InferenceResponse")
            ),
        }
    return paths


def _schemas() -> Schema:
    which = {"model": _STRING, "version": _STRING, "deadline_s": _DEADLINE}
    one = _closed(["text"], text=_TEXT, text_pair=_TEXT, **which)
    given = {"oneOf": [_TEXT, _closed(["text"], text=_TEXT, text_pair=_TEXT)]}
    texts = _list(given, minItems=1, maxItems=MOST_TEXTS)
    seconds = ("online_seconds", "offline_seconds", "waited_seconds")
    counts = ("bytes_client_to_server", "bytes_server_to_client", "offline_bytes", "messages",
              "texts_in_run")  # fmt: skip
    cost = dict.fromkeys(seconds, _NUMBER) | {name: {"type": "integer"} for name in counts}
    labelled = _object(
        ["label", "score", "logits", "cost"],
        label=_STRING, score=_NUMBER, logits=_list(_NUMBER), cost=_ref("Cost"),
    )  # fmt: skip
    vector = _object(["embedding", "cost"], embedding=_list(_NUMBER), cost=_ref("Cost"))
    return {
        "Problem": _object(["error", "code"], error=_STRING, code=_STRING),
        "AskedOne": one,
        "Event": _object(
            ["event", "data"],
            event={"enum": ["accepted", "progress", "answer", "failed"]}, data=_STRING,
        ),
        "Asked": {"oneOf": [one, _closed(["texts"], texts=texts, **which)]},
        "Cost": _object([*cost], **cost),
        "Classified": _object(
            ["model", "version", "results"],
            model=_STRING, version=_STRING, results=_list(labelled),
        ),
        "Embedded": _object(
            ["model", "version", "results"], model=_STRING, version=_STRING, results=_list(vector)
        ),
        "Model": _object(
            ["name", "version", "task", "labels", "lengths", "takes", "ready"],
            name=_STRING, version=_STRING, task=_STRING, labels=_list(_STRING),
            lengths=_list({"type": "integer"}), takes=_STRING, ready={"type": "boolean"},
        ),
    }  # fmt: skip


def _v2_schemas() -> Schema:
    described = {"name": _STRING, "datatype": _STRING, "shape": _list({"type": "integer"})}
    tensor = _object(["name", "datatype", "shape"], **described)
    data = _list({"type": ["string", "number"]})
    axes = _list({"type": "integer", "minimum": 1, "maximum": MOST_TEXTS}, minItems=1, maxItems=2)
    texts = {"oneOf": [_list(_TEXT, minItems=1, maxItems=MOST_TEXTS),
                       _list(_list(_TEXT, minItems=1, maxItems=1), minItems=1,
                             maxItems=MOST_TEXTS)]}  # fmt: skip
    name = {"enum": ["text", "text_pair"]}
    given = _object(
        ["name", "datatype", "shape", "data"],
        name=name, datatype={"const": "BYTES"}, shape=axes, data=texts,
        parameters={"type": "object"},
    )  # fmt: skip
    return {
        "ModelMetadata": _object(
            ["name", "versions", "platform", "inputs", "outputs"],
            name=_STRING, versions=_list(_STRING), platform=_STRING, inputs=_list(tensor),
            outputs=_list(tensor),
        ),
        "InferenceRequest": {"oneOf": [
            _asking(_list(given, minItems=1, maxItems=2)),
            _asking(_list(_image(), minItems=1, maxItems=1)),
        ]},
        "InferenceResponse": _object(
            ["model_name", "model_version", "outputs"],
            model_name=_STRING, model_version=_STRING, id=_STRING,
            outputs=_list(_object(
                ["name", "datatype", "shape", "data"], **described, data=data
            )),
        ),
    }  # fmt: skip


def _asking(inputs: Schema) -> Schema:
    name = {"type": "string", "maxLength": 256}
    return _object(
        ["inputs"],
        id=name,
        parameters=_object([], deadline_s=_DEADLINE),
        inputs=inputs,
        outputs=_list(_object(["name"], name=name), maxItems=8),
    )


def _image() -> Schema:
    axes = _list({"type": "integer", "minimum": 1, "maximum": 1 << 14}, minItems=3, maxItems=4)
    return _object(
        ["name", "datatype", "shape", "data"],
        name={"const": "image"}, datatype={"enum": ["UINT8", "FP32"]}, shape=axes,
        data=_list(_NUMBER, maxItems=MOST_NUMBERS), parameters={"type": "object"},
    )  # fmt: skip
