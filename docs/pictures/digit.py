"""Draws `digit.svg`: one digit out of a gradient, and what remains of it under protection.

Run it from the project's root: `python docs/pictures/digit.py`. Rounds are real, seeds are fixed.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from fedprivacy.attacks.result import Picture
from fedprivacy.attacks.scenario import Scenario
from fedprivacy.reporting.picture_uris import picture_uri

HERE = Path(__file__).resolve().parent
SCENARIO = HERE.parents[1] / "attacks" / "analytic" / "scenario.toml"
SEED = 1
UNDER = {
    "plain": "no protection",
    "secagg": "secure sum of 20",
    "secagg-dp": "secure sum with noise",
}
STEP, SIDE = 176, 128


def cell(place: int, title: str, under: str, picture: Picture) -> str:
    """One picture with its title above and its figure below."""
    left = 16 + STEP * place
    middle = left + SIDE // 2
    return (
        f'<text x="{middle}" y="22">{escape(title)}</text>'
        f'<image x="{left}" y="34" width="{SIDE}" height="{SIDE}" '
        f'style="image-rendering: pixelated" href="{picture_uri(picture)}"/>'
        f'<text x="{middle}" y="{34 + SIDE + 20}" class="under">{escape(under)}</text>'
    )


def main() -> None:
    scenario = Scenario.from_toml(SCENARIO)
    cells = []
    for place, setting in enumerate(scenario.settings, 1):
        found = scenario.trial(setting, SEED).found
        original, recovered, _ = found.pictures
        if place == 1:
            cells.append(cell(0, "a client's image", "what it trained on", original))
        told = f"{found.target:.0f} dB (by chance {found.control:.0f})"
        cells.append(cell(place, UNDER[setting.name], told, recovered))
    width = 16 + STEP * len(cells) - (STEP - SIDE) + 16
    text = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 190" width="{width}">'
        "<style>text{font:13px sans-serif;text-anchor:middle;fill:#1b1f24}.under{fill:#5b636d}"
        "@media (prefers-color-scheme: dark){text{fill:#e6e9ec}.under{fill:#a0a8b1}}</style>"
        "<title>A digit recovered from one gradient, and what remains under protection</title>"
        f"{''.join(cells)}</svg>\n"
    )
    (HERE / "digit.svg").write_text(text, "utf-8")


main()
