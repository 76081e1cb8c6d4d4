"""A run, its attacks and its audit as one self-contained HTML page, for any screen and for paper.

Nothing is loaded from anywhere: no script, no font, no picture that is not in the text.
"""

from __future__ import annotations

from collections.abc import Sequence

from fedprivacy.errors import MissingExtra
from fedprivacy.reporting.blocks import Part
from fedprivacy.reporting.text import printable

__all__ = ["page"]

_STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #1b1f24; --faint: #5b636d; --rule: #d4d8dd; --box: #f5f6f8;
  --a: #0b5cad; --b: #b3480e; --c: #4b7a2b; --d: #7d3c98;
  --fill-a: #0b5cad; --fill-b: #e0a03a; --fill-c: #9aa3ad; --fill-d: #7d3c98;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --ink: #e6e9ec; --faint: #a0a8b1; --rule: #3a4149; --box: #1d2125;
    --a: #6db3f2; --b: #f0a56b; --c: #9bd07a; --d: #cf9be0;
    --fill-a: #4a94d8; --fill-b: #b9741f; --fill-c: #6b747e; --fill-d: #a06cb4;
  }
}
* { box-sizing: border-box; }
body { font: 16px/1.5 sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; overflow-wrap: anywhere; }
h1 { margin-bottom: 0.2rem; }
h2 { margin-top: 2.4rem; border-bottom: 2px solid var(--rule); padding-bottom: 0.3rem; }
p { max-width: 44rem; overflow-wrap: anywhere; }
.lead { color: var(--faint); margin-top: 0; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: 0.2rem 1.2rem; }
a { color: var(--a); }
table { border-collapse: collapse; width: 100%; margin: 1rem 0;
  font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: 0.3rem 0.9rem 0.3rem 0;
  overflow-wrap: break-word; }
.told td { overflow-wrap: anywhere; }
tr { border-top: 1px solid var(--rule); break-inside: avoid; }
thead tr { border-top: 0; }
thead th { color: var(--faint); font-weight: 600; }
.told { max-width: 44rem; }
.told th { width: 15rem; font-weight: 600; }
.told th.counted { width: auto; font-weight: 400; }
.told td.count { text-align: right; padding-right: 0; white-space: nowrap; }
td.number, th.number { text-align: right; }
td.head { font-weight: 600; }
ul.promises { list-style: none; padding: 0; max-width: 44rem; }
ul.promises li { padding-left: 1.6rem; text-indent: -1.6rem; margin: 0.4rem 0; }
.sign { display: inline-block; width: 1.6rem; text-indent: 0; font-weight: 700; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem 2rem; }
figure { margin: 1rem 0; break-inside: avoid; flex: 1 1 20rem; max-width: 29rem; }
figcaption { color: var(--faint); font-size: 0.9rem; }
svg.chart { width: 100%; height: auto; display: block; font: 11px sans-serif; }
svg text { fill: var(--ink); }
svg .middle { text-anchor: middle; }
svg .end { text-anchor: end; }
svg .grid { stroke: var(--rule); stroke-width: 1; }
svg .axis { stroke: var(--ink); stroke-width: 1; }
svg .level { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 2 3; }
svg .line0, svg .line1, svg .line2, svg .line3 { fill: none; stroke-width: 2; }
svg .line0 { stroke: var(--a); }
svg .line1 { stroke: var(--b); stroke-dasharray: 7 3; }
svg .line2 { stroke: var(--c); stroke-dasharray: 2 2; }
svg .line3 { stroke: var(--d); stroke-dasharray: 8 3 2 3; }
svg .dot0 { fill: var(--a); } svg .dot1 { fill: var(--b); }
svg .dot2 { fill: var(--c); } svg .dot3 { fill: var(--d); }
svg .bar0 { fill: var(--fill-a); } svg .bar1 { fill: var(--fill-b); }
svg .bar2 { fill: var(--fill-c); } svg .bar3 { fill: var(--fill-d); }
.gallery { display: flex; gap: 1rem; flex-wrap: wrap; }
.gallery div { text-align: center; font-size: 0.9rem; }
.gallery img { width: 6.5rem; height: 6.5rem; object-fit: contain; image-rendering: pixelated;
  border: 1px solid var(--rule); background: #000; display: block; }
@media (max-width: 40rem) {
  table.grid thead { display: none; }
  table.grid tr, table.grid td, table.told tr, table.told th, table.told td {
    display: block; width: auto; }
  table.grid tr { padding: 0.4rem 0; }
  table.grid td { padding: 0 0 0.1rem 0; text-align: left; overflow-wrap: anywhere; }
  table.grid td:empty { display: none; }
  table.grid td::before { content: attr(data-head) ": "; color: var(--faint); }
  .told th { padding-bottom: 0; }
  .told td, .told td.count { padding-top: 0; text-align: left; white-space: normal; }
}
@media print {
  :root { --paper: #fff; --ink: #000; --faint: #444; --rule: #bbb;
    --a: #0b5cad; --b: #b3480e; --c: #4b7a2b; --d: #7d3c98;
    --fill-a: #0b5cad; --fill-b: #e0a03a; --fill-c: #9aa3ad; --fill-d: #7d3c98; }
  body { font-size: 10pt; margin: 0; max-width: none; padding: 0; }
  h2 { break-after: avoid; margin-top: 1.4rem; }
  nav { display: none; }
  svg.chart, .gallery img, ul.promises { print-color-adjust: exact; }
  figure { max-width: 8.4cm; }
  .gallery img { width: 2.2cm; height: 2.2cm; }
}
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{{ title }}</title>
<style>@STYLE@</style>
</head>
<body>
<h1>{{ title }}</h1>
<p class="lead">{{ lead }}</p>
<nav aria-label="sections"><ul>
{%- for part in parts if part.blocks %}
<li><a href="#{{ part.name }}">{{ part.title }}</a></li>
{%- endfor %}
</ul></nav>
{%- for part in parts if part.blocks %}
<section id="{{ part.name }}">
<h2>{{ part.title }}</h2>
{%- for charts, blocks in part.blocks | grouped %}
{%- if charts %}
<div class="charts">
{%- for block in blocks %}
<figure>
{%- if block.kind == "chart" %}{{ block.svg | drawn }}
{%- else %}
<div class="gallery">
{%- for label, address in block.shown %}
<div><img src="{{ address }}" alt="{{ label }}">{{ label }}</div>
{%- endfor %}
</div>
{%- endif %}
<figcaption>{{ block.caption }}</figcaption></figure>
{%- endfor %}
</div>
{%- else %}
{%- for block in blocks %}
{%- if block.kind == "text" %}
<p>{{ block.text }}</p>
{%- elif block.kind == "promises" %}
<ul class="promises">
{%- for sentence in block.holds %}
<li><span class="sign" title="holds">+</span>{{ sentence }}</li>
{%- endfor %}
{%- for sentence in block.does_not_hold %}
<li><span class="sign" title="does not hold">&minus;</span>{{ sentence }}</li>
{%- endfor %}
</ul>
{%- elif block.kind == "told" %}
<table class="told">
{%- for told, answer in block.rows %}
<tr><th scope="row"{% if block.counted %} class="counted"{% endif %}>{{ told }}</th>
<td{% if block.counted %} class="count"{% endif %}>{{ answer }}</td></tr>
{%- endfor %}
</table>
{%- elif block.kind == "grid" %}
<table class="grid">
<thead><tr>
{%- for head in block.heads %}
<th scope="col"{% if loop.index0 >= block.numbers %} class="number"{% endif %}>{{ head }}</th>
{%- endfor %}
</tr></thead>
<tbody>
{%- for row in block.rows %}
<tr>
{%- for cell in row -%}
{%- set kind = "number" if loop.index0 >= block.numbers else "head" if loop.first else "" -%}
<td{% if kind %} class="{{ kind }}"{% endif %}
 data-head="{{ block.heads[loop.index0] }}">{{ cell }}</td>
{%- endfor %}
</tr>
{%- endfor %}
</tbody>
</table>
{%- endif %}
{%- endfor %}
{%- endif %}
{%- endfor %}
</section>
{%- endfor %}
</body>
</html>
"""


def page(title: str, lead: str, parts: Sequence[Part]) -> str:
    """The page's text; raises `MissingExtra` without jinja2. Parts without blocks are left out."""
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ImportError:
        raise MissingExtra("report", "a report in HTML") from None
    # Names and reasons are of others: nothing of them is read as markup. Charts are made here, and
    # escape what they are given.
    environment = Environment(autoescape=True, undefined=StrictUndefined, finalize=_plain)
    environment.filters["drawn"] = Markup
    environment.filters["grouped"] = _grouped
    template = environment.from_string(_PAGE.replace("@STYLE@", _STYLE))
    return template.render(title=title, lead=lead, parts=tuple(parts)) + "\n"


def _plain(value: object) -> object:
    """One line of text as characters that can be printed; a chart as it is."""
    return printable(value) if type(value) is str else value


def _grouped(blocks: Sequence[object]) -> list[tuple[bool, list[object]]]:
    """Runs of charts and pictures, which stand side by side, and of all else."""
    runs: list[tuple[bool, list[object]]] = []
    for block in blocks:
        beside = getattr(block, "kind", "") in {"chart", "gallery"}
        if not runs or runs[-1][0] is not beside:
            runs.append((beside, []))
        runs[-1][1].append(block)
    return runs
