"""The contract as OpenAPI has it, as a page to read: made of the document alone, without scripts and without other
origins, so that a strict Content-Security-Policy and a browser that is offline are no matter.
"""

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, Final

from markdown_it import MarkdownIt

PAGE: Final = Path("server/postwire/web/openapi/openapi.html")

_SCHEMAS: Final = "#/components/schemas/"
_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False})

_HEAD: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="stylesheet" href="openapi.css">
</head>
<body>
"""


def render(document: bytes) -> bytes:
    """The page of a document that `document.render` has made."""
    contract: dict[str, Any] = json.loads(document)
    return "".join(_parts(contract)).encode()


def _parts(contract: dict[str, Any]) -> Iterator[str]:
    info = contract["info"]
    calls = [(path, item["post"]) for path, item in contract["paths"].items()]
    schemas = contract["components"]["schemas"]
    yield _HEAD.format(title=escape(info["title"]))
    yield f"<header>\n<h1>{escape(info['title'])}</h1>\n{_text(info['description'])}"
    yield '<p>For programs: <a href="openapi.json">openapi.json</a>.</p>\n</header>\n'
    yield '<nav aria-label="Contents">\n<ul>\n'
    for tag in contract["tags"]:
        links = ", ".join(
            f'<a href="#{call["operationId"]}">{path.rpartition("/")[2]}</a>'
            for path, call in calls
            if tag["name"] in call["tags"]
        )
        yield f'<li><a href="#{tag["name"]}">{tag["name"]}</a>: {links}</li>\n'
    yield '<li><a href="#schemas">Schemas</a></li>\n</ul>\n</nav>\n<main>\n'
    for tag in contract["tags"]:
        yield f'<section>\n<h2 id="{tag["name"]}">{tag["name"]}</h2>\n{_text(tag["description"])}'
        for path, call in calls:
            if tag["name"] in call["tags"]:
                yield from _call(path, call)
        yield "</section>\n"
    yield '<section>\n<h2 id="schemas">Schemas</h2>\n'
    for name, schema in schemas.items():
        yield f'<article>\n<h3 id="{name}">{_name(name)}</h3>\n{_text(schema["description"])}'
        yield from _fields(schema)
        yield "</article>\n"
    yield "</section>\n</main>\n</body>\n</html>\n"


def _call(path: str, call: dict[str, Any]) -> Iterator[str]:
    yield f'<article>\n<h3 id="{call["operationId"]}">{path.rpartition("/")[2]}</h3>\n'
    yield f'<p class="path"><b>POST</b> {path}</p>\n'
    yield _text(call["summary"]) + _text(call.get("description", ""))
    [(media, request)] = call["requestBody"]["content"].items()
    yield f"<h4>Request <small>{media}</small></h4>\n"
    yield "".join(_fields(request["schema"])) or "<p>An empty object.</p>\n"
    [(media, answer)] = call["responses"]["200"]["content"].items()
    yield f"<h4>Response <small>{media}</small></h4>\n<p>{_type(answer['schema'])}</p>\n</article>\n"


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    """What an object has, and which of it excludes what."""
    if fields := schema.get("properties", {}):
        yield "<dl>\n"
        for name, field in fields.items():
            yield f"<dt><code>{name}</code> {_type(field)}</dt>\n<dd>{_text(field.get('description', ''))}</dd>\n"
        yield "</dl>\n"
    for group in [schema, *schema.get("allOf", [])]:
        if names := [name for choice in group.get("oneOf", []) for name in choice.get("required", [])]:
            yield f"<p>At most one of {', '.join(f'<code>{name}</code>' for name in names)}.</p>\n"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_SCHEMAS)
        return f'<a href="#{name}">{_name(name)}</a>'
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if schema["type"] == "array":
        return f"array of {_type(schema['items'])}"
    if "additionalProperties" in schema:
        return f"object of {_type(schema['additionalProperties'])}"
    return " ".join([schema["type"], *([f"({schema['format']})"] if "format" in schema else [])])


def _name(schema: str) -> str:
    """A name as the page shows it: those of the contract itself without its package."""
    return schema.removeprefix("postwire.v1.")


def _text(markdown: str) -> str:
    return str(_MARKDOWN.render(markdown))
