"""/docs: a page to read openapi.json on and to try requests, Swagger UI, which needs no network beyond the service."""

from typing import List

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route
from swagger_ui_bundle import swagger_ui_path

FILES = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>ERNIE service</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="page"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
# validatorUrl: the page would else ask a public service about this one.
START = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#page", validatorUrl: null});\n'
# Nothing from elsewhere; Swagger UI has styles and pictures within its elements.
POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"


def docs_routes() -> List[Route]:
    """The page and what it loads."""
    return [
        Route("/docs", _page),
        Route("/docs/start.js", _start),
        *(Route(f"/docs/{name}", _file(name)) for name in FILES),
    ]


async def _page(request: Request) -> Response:
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


async def _start(request: Request) -> Response:
    return Response(START, media_type="text/javascript")


def _file(name: str):
    async def send(request: Request) -> Response:
        return FileResponse(swagger_ui_path / name)

    return send
