"""/openapi.json: what a service takes and answers, as OpenAPI 3.0, made of the models that it serves.

What an input and an answer look like, the task objects say (input_schema and answer_schema of ernie_inference.tasks).
Swagger UI of docs_page.py reads OpenAPI 3.0, not 3.1.
"""

from typing import Any, Dict

from ernie_inference.answer_options import LONG_TEXTS
from ernie_serving.models import Models
from ernie_serving.protocol import HTTP_STATUS, MODEL, RESULTS, TEXTS, VERSION, Code
from ernie_serving.service import Service

MEANINGS = {
    Code.STOPPING: "the service is stopping, or busy: ask again later",
    Code.NO_SERVICE: "no such model",
    Code.INVALID: "not a request of this protocol; err_msg says what is wrong",
    Code.TOO_LARGE: "over a limit, which err_msg names",
    Code.TIMEOUT: "no answer in time",
    Code.FAILED: "the model failed on this request",
}
INTEGER, STRING = {"type": "integer"}, {"type": "string"}
ERROR = {"$ref": "#/components/schemas/Error"}
MODELS, HEALTH = "models", "health"  # parts of the page


KEY, BEARER = "key", {"type": "http", "scheme": "bearer", "description": "an API key"}


def describe_service(models: Models, needs_key: bool = False) -> Dict[str, Any]:
    """The document of the models that are served now.

    Args:
        needs_key: whether models are asked, and told of, with an API key only.
    """
    paths: Dict[str, Any] = {}
    guard = _with_key if needs_key else dict
    for service in models:
        paths[f"/{service.name}/prediction"] = {"post": guard(_prediction(service))}
    model = {"$ref": "#/components/schemas/Model"}
    state = {"type": "object", "required": ["status"], "properties": {"status": STRING}}
    name = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    stopping = {"503": _answer("stopping", state)}
    missing = {"404": _error(Code.NO_SERVICE)}
    listed = {"type": "object", "required": ["models"], "properties": {"models": {"type": "array", "items": model}}}
    paths.update(
        {
            "/models": {"get": guard(_page("The models that are served", listed))},
            "/models/{model}": {"get": guard({**_page("One of them", model, missing), "parameters": [name]})},
            "/health": {"get": _page("Whether requests are taken", state, stopping, HEALTH)},
            "/health/ready": {"get": _page("Whether requests are taken", state, stopping, HEALTH)},
            "/health/live": {"get": _page("Whether the service runs", state, tag=HEALTH)},
        }
    )
    schemas = {
        "Error": {
            "type": "object",
            "required": ["err_no", "err_msg"],
            "properties": {"err_no": {**INTEGER, "enum": [int(code) for code in Code if code]}, "err_msg": STRING},
        },
        "Model": {
            "type": "object",
            "required": ["name", "task", "labels", "version", "state"],
            "properties": {
                **{name: STRING for name in ("name", "task", "version", "state", "engine", "precision")},
                "labels": {"type": "array", "items": STRING},
                "limits": {"type": "object", "additionalProperties": {"type": "number"}},
            },
        },
    }
    return {
        "openapi": "3.0.3",
        "info": {"title": "ERNIE service", "version": "1", "description": "Answers to texts, by fine-tuned models."},
        "paths": paths,
        "components": {"schemas": schemas, **({"securitySchemes": {KEY: BEARER}} if needs_key else {})},
    }


def _with_key(operation: Dict[str, Any]) -> Dict[str, Any]:
    """An operation that needs an API key."""
    answers = {**operation["responses"], "401": _error(Code.INVALID, "no API key, or none that is valid")}
    return {**operation, "responses": answers, "security": [{KEY: []}]}


def _prediction(service: Service) -> Dict[str, Any]:
    """The operation that asks a model."""
    task, limits = service.task, service.limits
    texts = {"type": "array", "minItems": 1, "maxItems": limits.texts, "items": task.input_schema}
    top_k: Dict[str, Any] = {**INTEGER, "minimum": 1, "nullable": True}
    if task.most_answers is not None:
        top_k["maximum"] = task.most_answers
    long_texts = {
        "type": "string", "enum": [*LONG_TEXTS, None], "nullable": True,
        "description": "a text longer than one window: cut it, or answer all its windows and take the mean of their "
        "probabilities, or the largest",
    }  # fmt: skip
    request = {
        "type": "object",
        "required": [TEXTS],
        "additionalProperties": False,
        "properties": {
            TEXTS: {**texts, "description": f"inputs, each {task.forms}"},
            "top_k": {**top_k, "description": "so many of the likeliest answers, with their confidence"},
            "threshold": {
                "type": "number", "minimum": 0, "maximum": 1, "nullable": True,
                "description": "what the model is less certain of than this is no answer",
            },
            **({"long_texts": long_texts} if task.cuts_long_texts else {}),
        },
        "example": {TEXTS: task.sample_inputs},
    }  # fmt: skip
    answer = {
        "type": "object",
        "required": ["err_no", "err_msg", RESULTS, MODEL, VERSION],
        "properties": {
            "err_no": {**INTEGER, "enum": [int(Code.OK)]},
            "err_msg": STRING,
            RESULTS: {"type": "array", "description": "one for each text", "items": task.answer_schema()},
            MODEL: {**STRING, "enum": [service.name]},
            VERSION: {**STRING, "description": "of the model that computed them"},
        },
    }
    errors = {str(HTTP_STATUS[code]): _error(code) for code in MEANINGS}
    errors[str(HTTP_STATUS[Code.BUSY])]["headers"] = {"Retry-After": {"description": "seconds", "schema": INTEGER}}
    return {
        "tags": [MODELS],
        "summary": f"Ask the model {service.name} ({task.name})",
        "operationId": f"predict_{service.name}",
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": {"200": _answer("answered", answer), **errors},
    }


def _page(summary: str, schema: Dict[str, Any], others: Any = None, tag: str = MODELS) -> Dict[str, Any]:
    return {"tags": [tag], "summary": summary, "responses": {"200": _answer(summary, schema), **(others or {})}}


def _error(code: Code, meaning: str = "") -> Dict[str, Any]:
    meaning = meaning or MEANINGS[code]
    answer = _answer(meaning, ERROR)
    answer["content"]["application/json"]["example"] = {"err_no": int(code), "err_msg": meaning}
    return answer


def _answer(description: str, schema: Dict[str, Any]) -> Dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
