"""The OpenAPI schema as a page for people. FastAPI's own pages load their scripts from the network; this has none."""

import json
from html import escape
from typing import Any

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { overflow-x: auto; padding: .75rem; background: #8881; }
section { border-top: 1px solid #8886; margin-top: 1.5rem; }
table { border-collapse: collapse; } td, th { text-align: left; vertical-align: top; padding: .15rem 1rem .15rem 0; }
:root { color-scheme: light dark; }
"""
# Nothing is loaded, and nothing runs.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def write_docs(schema: dict[str, Any]) -> str:
    """A page of HTML that lists every operation of an OpenAPI schema: what it takes, and what it answers."""
    title = f"{schema['info']['title']} {schema['info']['version']}"
    operations = [
        _operation(method, path, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    types = [_type(name, about) for name, about in sorted(schema["components"]["schemas"].items())]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style><h1>{escape(title)}</h1><p>{escape(schema['info'].get('description', ''))}</p>"
        '<p>The same for programs: <a href="openapi.json">openapi.json</a>.</p>'
        f"{''.join(operations)}<h2>Types</h2>{''.join(types)}</html>\n"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {})
    takes = f"<p>Takes {_contents(body)}.</p>" if body else ""
    rows = "".join(
        f"<tr><td>{escape(status)}<td>{escape(answer['description'])}<td>{_contents(answer.get('content', {}))}"
        for status, answer in operation["responses"].items()
    )
    return (
        f"<section><h3><code>{escape(method.upper())} {escape(path)}</code></h3>"
        f"<p>{escape(operation.get('description', ''))}</p>{takes}"
        f"<table><tr><th>Status<th>Meaning<th>Content{rows}</table></section>"
    )


def _contents(content: dict[str, Any]) -> str:
    return ", ".join(f"<code>{escape(kind)}</code>{_link(about.get('schema', {}))}" for kind, about in content.items())


def _link(schema: dict[str, Any]) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    return f' (<a href="#{escape(name)}">{escape(name)}</a>)' if name else ""


def _type(name: str, about: dict[str, Any]) -> str:
    text = escape(json.dumps(about.get("properties", {}), indent=2))
    return (
        f'<section id="{escape(name)}"><h3>{escape(name)}</h3>'
        f"<p>{escape(about.get('description', ''))}</p><pre>{text}</pre></section>"
    )
