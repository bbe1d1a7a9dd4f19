"""API documentation that works without the internet: Swagger UI from its wheel."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response

from catalog_api.openapi import as_3_0
from catalog_api.problems import not_found

router = APIRouter(include_in_schema=False)

# Swagger UI puts style attributes into its markup and icons into data URLs.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Versions: the catalog API</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<link rel="icon" href="/docs/assets/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript; the same is in <a href="/api/v1/openapi.json">openapi.json</a>.</noscript>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/assets/start.js"></script>
</body>
</html>
"""

_START = """window.ui = SwaggerUIBundle({
  url: "/docs/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  tryItOutEnabled: true,
});
"""

_ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}


def _folder() -> Path:
    """Where the wheel keeps Swagger UI, whatever its version."""
    vendor = Path(str(files("swagger_ui_bundle"))) / "vendor"
    return max(vendor.glob("swagger-ui-*"))


@router.get("/docs", response_class=HTMLResponse)
async def docs() -> Response:
    """The documentation."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": POLICY, "Cache-Control": "public, max-age=300"})


@router.get("/docs/openapi.json")
async def docs_openapi(request: Request) -> Response:
    """What Swagger UI reads; everybody else reads `/api/v1/openapi.json`."""
    return JSONResponse(as_3_0(request.app.openapi()))


@router.get("/docs/assets/{name}")
async def asset(name: str) -> Response:
    """Swagger UI's files."""
    headers = {"Cache-Control": "public, max-age=86400"}
    if name == "start.js":
        return Response(_START, headers=headers, media_type="text/javascript")
    if name not in _ASSETS:
        raise not_found("file")
    return FileResponse(_folder() / name, headers=headers, media_type=_ASSETS[name])
