"""The service describes itself: as OpenAPI, and as a page that needs nothing from elsewhere."""

import html
from typing import Any

from comdefend._version import __version__
from comdefend.service.images import MEDIA_TYPES
from comdefend.service.settings import Settings

_JSON = "application/json"
_CLASS = {
    "type": "object",
    "required": ["index", "label", "confidence"],
    "properties": {
        "index": {"type": "integer", "description": "Its place among the classifier's outputs."},
        "label": {"type": "string", "description": "Its name, or its number where none is known."},
        "confidence": {"type": "number", "description": "Softmax, from 0 to 1."},
    },
}
_SCHEMAS = {
    "Class": _CLASS,
    "Answer": {
        "type": "object",
        "required": ["classes", "unpurified", "moved", "detection_score"],
        "properties": {
            "classes": {
                "type": "array",
                "items": {"$ref": "#/components/schemas/Class"},
                "description": "The five most likely of the purified image, the first one first.",
            },
            "unpurified": {"$ref": "#/components/schemas/Class"},
            "moved": {
                "type": "boolean",
                "description": "Whether purifying changes the most likely class.",
            },
            "detection_score": {
                "type": "number",
                "description": "L1 distance of the softmaxes before and after, from 0 to 2. Far "
                "where an attack was undone; an attacker who knows of it avoids that.",
            },
        },
    },
    "Error": {
        "type": "object",
        "required": ["error", "status", "message"],
        "properties": {
            "error": {"type": "string"},
            "status": {"type": "integer"},
            "message": {"type": "string", "description": "What is wrong, and what would be right."},
        },
    },
}


def openapi(settings: Settings, classifies: bool) -> dict[str, Any]:
    """Return the description of a service in OpenAPI 3.1."""
    limit = f"at most {settings.max_bytes / 1e6:g} MB and {settings.max_pixels / 1e6:g} megapixels"
    image = {
        "required": True,
        "description": f"The image itself, {limit}: PNG, JPEG, WebP, TIFF, BMP, GIF or AVIF.",
        "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
    }
    format = {
        "name": "format",
        "in": "query",
        "description": "Of the answer. Only JPEG changes the purified pixels once more.",
        "schema": {"type": "string", "enum": list(MEDIA_TYPES), "default": "png"},
    }
    binary = {
        kind: {"schema": {"type": "string", "format": "binary"}} for kind in MEDIA_TYPES.values()
    }
    errors = _errors(settings)
    purified = {
        "description": "The purified image: upright, of the same size, with alpha and metadata. "
        "The header comdefend-notes says what of the metadata was left behind.",
        "content": binary,
    }
    answer = {"schema": {"$ref": "#/components/schemas/Answer"}}
    paths: dict[str, Any] = {
        "/purify": {
            "post": {
                "summary": "Purify an image.",
                "parameters": [format],
                "requestBody": image,
                "responses": {"200": purified, **errors},
            }
        },
        "/classify": {
            "post": {
                "summary": "Classify an image, purified and as it came.",
                "requestBody": image,
                "responses": {
                    "200": {"description": "The answers.", "content": {_JSON: answer}},
                    **errors,
                },
            }
        },
        "/healthz": _get("Whether the service takes requests.", _JSON, "503"),
        "/metrics": _get("Figures for Prometheus.", "text/plain"),
        "/openapi.json": _get("This description.", _JSON),
    }
    if not classifies:
        del paths["/classify"]
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "comdefend",
            "version": __version__,
            "description": "Purifies images before a classifier sees them. No image is kept.",
        },
        "paths": paths,
        "components": {"schemas": _SCHEMAS},
    }
    if settings.token:
        document["components"] = {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        }
        document["security"] = [{"token": []}]
    return document


def _errors(settings: Settings) -> dict[str, Any]:
    reasons = {
        "400": "No request of HTTP.",
        "408": f"The request did not arrive within {settings.seconds:g} s.",
        "413": "Too many bytes, or too many pixels.",
        "415": "A form; send the image itself.",
        "422": "No image, or one that cannot be handled; or an unknown format.",
        "503": "Busy, stopping, or short of memory; the header retry-after says when to try again.",
        "504": f"Computing it takes longer than {settings.seconds:g} s.",
    }
    if settings.token:
        reasons["401"] = "The token is missing or wrong."
    error = {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        status: {"description": reason, "content": error}
        for status, reason in sorted(reasons.items())
    }


def _get(summary: str, kind: str, *more: str) -> dict[str, Any]:
    responses = {status: {"description": "It does not."} for status in more}
    done = {"description": "Done.", "content": {kind: {}}}
    return {"get": {"summary": summary, "responses": {"200": done, **responses}}}


def page(document: dict[str, Any]) -> str:
    """Return a description as HTML, without scripts and without anything from elsewhere."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'>",
        f"<title>{info['title']} {info['version']}</title>",
        "<style>body{font:16px/1.5 system-ui;max-width:46em;margin:2em auto;padding:0 1em}"
        "code{background:#8882;padding:.1em .3em}td{padding:.2em 1em .2em 0;vertical-align:top}"
        "</style>",
        f"<h1>{info['title']} {info['version']}</h1><p>{html.escape(info['description'])}</p>",
        "<p><a href=openapi.json>openapi.json</a>: the same for programs.</p>",
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts += _operation(path, method, operation)
    return "\n".join(parts)


def _operation(path: str, method: str, operation: dict[str, Any]) -> list[str]:
    rows = []
    if "requestBody" in operation:
        rows.append(("body", operation["requestBody"]["description"]))
    for parameter in operation.get("parameters", ()):
        values = ", ".join(parameter["schema"]["enum"])
        rows.append((f"?{parameter['name']}=", f"{values}. {parameter['description']}"))
    rows += [(status, told["description"]) for status, told in operation["responses"].items()]
    table = "".join(
        f"<tr><td><code>{html.escape(name)}</code><td>{html.escape(text)}" for name, text in rows
    )
    title = f"<h2><code>{method.upper()} {path}</code></h2><p>{operation['summary']}</p>"
    return [title, f"<table>{table}</table>"]
