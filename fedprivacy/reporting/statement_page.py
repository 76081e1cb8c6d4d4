"""A privacy statement as one self-contained HTML page."""

from __future__ import annotations

from fedprivacy.errors import MissingExtra
from fedprivacy.reporting.privacy_statement import PrivacyStatement

__all__ = ["statement_page"]

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Privacy of {{ statement.dataset }}</title>
<style>
body { font: 16px/1.5 sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
th { text-align: left; vertical-align: top; padding-right: 1.5rem; white-space: nowrap; }
td { overflow-wrap: anywhere; }
td.count { text-align: right; }
</style>
</head>
<body>
<h1>Privacy of {{ statement.dataset }}</h1>
<table>
{%- for question, answer in statement.answers() %}
<tr><th scope="row">{{ question }}</th><td>{{ answer }}</td></tr>
{%- endfor %}
</table>
<h2>What it rests on</h2>
<table>
{%- for assumption in statement.assumptions %}
<tr><th scope="row">{{ assumption.holds.value }}</th><td>{{ assumption.text }}</td></tr>
{%- endfor %}
</table>
{%- if statement.releases %}
<h2>What was released</h2>
<table>
{%- for release in statement.releases %}
<tr><td>{{ release.event }}</td><td class="count">{{ release.count }}</td></tr>
{%- endfor %}
</table>
{%- endif %}
</body>
</html>
"""


def statement_page(statement: PrivacyStatement) -> str:
    """The page's text; raises `MissingExtra` without jinja2."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise MissingExtra("report", "a statement in HTML") from None
    # Names and reasons are of others: nothing of them is read as markup.
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(_PAGE).render(statement=statement) + "\n"
