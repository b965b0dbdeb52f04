"""What the HTTP applications of a service share: JSON answers, errors in the form of protocol.py, and paths."""

import re
from typing import Any, Callable, Dict, Optional, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ernie_inference.text_output import to_json
from ernie_serving.api_keys import AUTHORIZATION, ApiKeys
from ernie_serving.http_connection import JSON_TYPE
from ernie_serving.protocol import HTTP_STATUS, Code, Refusal, http_body, shown
from ernie_serving.request_ids import REQUEST_ID, request_id

ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
# Of HTTP itself, as err_no; all others are INVALID.
ERR_NO = {404: Code.NO_SERVICE, 413: Code.TOO_LARGE, 500: Code.FAILED, 503: Code.BUSY}


def build_app(
    routes: Sequence[BaseRoute], hint: str, refused: Callable[[int], None] = lambda status: None
) -> Starlette:
    """An application whose errors have the form of protocol.py.

    Each request has an id, which its answer has too. A path may end with a slash, and may be a whole URL, as a
    client of a proxy sends it.

    Args:
        hint: what else to say of a path that is none.
        refused: called with the status of a request that no route answers.
    """

    async def http_error(request: Request, error: HTTPException) -> Response:
        """Of a path that is none, or a method that it does not have."""
        refused(error.status_code)
        also = f"; {hint}" if error.status_code in (404, 405) else ""
        message = f"{shown(request.method)} {shown(request.scope['path'])}: {error.detail}{also}"
        body = http_body(ERR_NO.get(error.status_code, Code.INVALID), message)
        return json_response(body, error.status_code, dict(error.headers or {}))

    async def refusal(request: Request, error: Refusal) -> Response:
        status = HTTP_STATUS[error.code]
        refused(status)
        return json_response(http_body(error.code, error.message), status)

    async def nobody_listens(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=400)

    async def failure(request: Request, error: Exception) -> Response:
        return json_response(http_body(Code.FAILED, "the service failed on this request"), 500)

    handlers: Dict[Any, Any] = {
        HTTPException: http_error, Refusal: refusal, ClientDisconnect: nobody_listens, Exception: failure,
    }  # fmt: skip
    return Starlette(routes=list(routes), middleware=[Middleware(PlainPath)], exception_handlers=handlers)


class PlainPath:
    """Routes see the path alone, without a slash at its end, and the request's id (request.state.id), which the answer
    has too."""

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send) -> None:
        path = ORIGIN.sub("", scope["path"], count=1) if not scope["path"].startswith("/") else scope["path"]
        given = dict(scope["headers"]).get(REQUEST_ID.encode(), b"").decode("latin-1")
        request = request_id(given)

        async def send_with_id(message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (REQUEST_ID.encode(), request.encode())]
            await send(message)

        await self._app({**scope, "path": path.rstrip("/") or "/", "state": {"id": request}}, receive, send_with_id)


def check_key(request: Request, keys: ApiKeys) -> None:
    """Raises HTTPException where a request has no API key that opens."""
    if not keys.check(request.headers.get(AUTHORIZATION)):
        raise HTTPException(401, "an API key is needed: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})


def json_response(body: bytes, status: int = 200, headers: Optional[Dict[str, str]] = None) -> Response:
    """An answer in JSON; one that asks to come again later says when."""
    retry = {"Retry-After": "1"} if status == 503 else {}
    return Response(body, status, {**retry, **(headers or {})}, JSON_TYPE)


def as_json(content: Any, status: int = 200) -> Response:
    return json_response(to_json(content), status)
