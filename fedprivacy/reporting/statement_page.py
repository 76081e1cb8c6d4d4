"""A statement of privacy as one self-contained HTML page, for any screen and for paper."""

from __future__ import annotations

from collections.abc import Sequence

from fedprivacy.errors import MissingExtra
from fedprivacy.reporting.statements import Section

__all__ = ["statement_page"]

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ sections[0].title }}</title>
<style>
body { font: 16px/1.5 sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.4rem 1rem 0.4rem 0; }
th { width: 11rem; }
td { overflow-wrap: anywhere; }
tr { border-top: 1px solid #bbb; break-inside: avoid; }
td.count { text-align: right; padding-right: 0; white-space: nowrap; }
@media (max-width: 34rem) {
  table.told, .told tbody, .told tr, .told th, .told td { display: block; width: auto; }
  .told th { padding-bottom: 0; }
  .told td { padding-top: 0; }
}
@media print {
  body { font-size: 10.5pt; margin: 0; max-width: none; }
  h2 { break-after: avoid; }
}
</style>
</head>
<body>
{%- for section in sections if section.rows %}
<h{{ 1 if loop.first else 2 }}>{{ section.title }}</h{{ 1 if loop.first else 2 }}>
<table{% if not section.counted %} class="told"{% endif %}>
{%- for told, answer in section.rows %}
{%- if section.counted %}
<tr><td>{{ told }}</td><td class="count">{{ answer }}</td></tr>
{%- else %}
<tr><th scope="row">{{ told }}</th><td>{{ answer }}</td></tr>
{%- endif %}
{%- endfor %}
</table>
{%- endfor %}
</body>
</html>
"""


def statement_page(sections: Sequence[Section]) -> str:
    """The page's text; raises `MissingExtra` without jinja2. Sections without rows are left out."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise MissingExtra("report", "a statement in HTML") from None
    # Names and reasons are of others: nothing of them is read as markup.
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(_PAGE).render(sections=tuple(sections)) + "\n"
