"""A run as one page: every section with its charts, nothing loaded, nothing foreign that acts.

It is laid out by a headless Chromium, where there is one.
"""

import base64
import json
import re
import shutil
import struct
import subprocess
import zlib

import numpy as np
import pytest
from msgspec.structs import replace

from fedprivacy.attacks.registry import ATTACKS
from fedprivacy.attacks.result import AttackResult, Measured, Picture
from fedprivacy.attacks.suite_folder import write_results
from fedprivacy.errors import ConfigurationError
from fedprivacy.reporting.picture_uris import picture_uri
from fedprivacy.reporting.report import Report
from fedprivacy.reporting.run_assumptions import run_assumptions
from fedprivacy.reporting.statements import Holding
from fedprivacy.rounds.record import AuditRecord

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
SECTIONS = {
    "guarantee": 0,
    "budget": 1,
    "accuracy": 1,
    "cohort": 1,
    "costs": 2,
    "attacks": 1,
    "audit": 1,
    "assumptions": 0,
    "plan": 0,
}
"""Each with how many charts it has."""
AUDIT = AuditRecord(
    unit="patient",
    epsilon=1.26,
    lower_bound=0.31,
    estimate=1.31,
    delta=1e-7,
    error=1e-3,
    runs=3,
    rounds=1,
    clients=12,
    silent=2,
    length=1024,
    canaries=1024,
    guesses=100,
    correct=171,
    p_value=0.4,
    accused=False,
    seeds=(1, 2, 3),
)


def result(attack="lira", **fields):
    usual = {
        "fedprivacy": "0.1.0",
        "attack": attack,
        "setting": "secagg",
        "metric": ATTACKS[attack].metric,
        "threat": ATTACKS[attack].needs,
        "protocol": "secagg",
        "noise": "none",
        "plan_hash": "",
    }
    return AttackResult(**usual | fields)


@pytest.fixture(scope="module")
def attacks():
    roc = ((0.0, 0.0), (0.01, 0.4), (0.2, 0.8), (1.0, 1.0))
    grey = np.linspace(0, 1, 64).reshape(8, 8)
    pictures = tuple(Picture.of(name, grey) for name in ("original", "recovered", "control"))
    return (
        result("analytic", measured=(Measured(seed=1, target=120, control=7, pictures=pictures),)),
        result(measured=(Measured(seed=1, target=0.9, control=0.5, roc=roc),)),
        result("differencing", measured=(), stopped="survivors-overlap"),
    )


@pytest.fixture(scope="module")
def folder(record, attacks, tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    (path / "record.json").write_text(replace(record, audit=AUDIT).to_json(), "utf-8")
    for found in attacks:
        write_results(path, found.attack, (found,))
    return path


@pytest.fixture(scope="module")
def html(folder):
    return Report.of_folder(folder).to_html()


def section(html, name):
    (found,) = re.findall(rf'<section id="{name}">(.*?)</section>', html, re.DOTALL)
    return found


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_is_there_with_its_charts(html, name):
    assert section(html, name).count("<svg") == SECTIONS[name]


def test_nothing_is_loaded_and_nothing_runs(html):
    assert "<script" not in html
    assert "@import" not in html
    assert "@font-face" not in html
    loaded = re.findall(r'(?:src|href)="([^"#][^"]{0,40})', html)
    assert loaded
    assert all(address.startswith("data:image/png;base64,") for address in loaded)
    assert "url(" not in html
    assert "default-src 'none'" in html


def test_it_says_what_the_record_says(html, record):
    for sentence in (*record.guarantee.holds, *record.guarantee.does_not_hold):
        assert sentence.replace("'", "&#39;") in section(html, "guarantee")
    assert "3.87" in section(html, "budget")
    assert "0.139" in section(html, "budget")  # 4 less 3.8605...: what is left, downwards
    known = record.simulation_only
    assert known.accuracy > known.accuracy_unprotected - 0.1 > 0.5
    for share in (known.accuracy, known.accuracy_unprotected):
        assert f'<td class="count">{100 * share:.1f} %</td>' in section(html, "accuracy")
    assert "hospital-19" in section(html, "cohort")
    assert record.plan_hash in section(html, "plan")
    assert "survivors-overlap" in section(html, "attacks")
    assert "171 of 300" in section(html, "audit")
    assert "an estimate by cosines, and no bound: epsilon is about" in section(html, "audit")
    assert "the gradient of one patient" in section(html, "audit")


def test_json_holds_the_same(folder, record):
    told = json.loads(Report.of_folder(folder).to_json())
    assert told["record"]["run_id"] == record.run_id
    assert told["record"]["audit"]["lower_bound"] == 0.31
    assert [each["attack"] for each in told["attacks"]] == ["analytic", "differencing", "lira"]
    assert told["budget_left"] == pytest.approx(4 - record.rounds[-1].budget.epsilon)
    assert {a["holds"] for a in told["assumptions"]} == {"holds", "assumed"}


def test_a_run_without_attacks_and_audit_says_how_to_run_them(record, tmp_path):
    (tmp_path / "record.json").write_text(record.to_json(), "utf-8")
    html = Report.of_folder(tmp_path).to_html()
    assert "attack run --suite quick" in section(html, "attacks")
    assert "attack audit" in section(html, "audit")


def test_attacks_without_a_run_make_a_report(attacks, tmp_path):
    write_results(tmp_path, "analytic", attacks[:1])
    html = Report.of_folder(tmp_path).to_html()
    assert "data:image/png" in section(html, "attacks")
    assert 'id="plan"' not in html
    assert json.loads(Report.of_folder(tmp_path).to_json())["record"] is None


def test_without_noise_or_a_simulation_nothing_is_made_up(record, tmp_path):
    rounds = tuple(replace(r, simulation_only=None, budget=None) for r in record.rounds[:3])
    real = replace(record, rounds=rounds, simulation_only=None)
    (tmp_path / "record.json").write_text(real.to_json(), "utf-8")
    html = Report.of_folder(tmp_path).to_html()
    assert "Not stated" in section(html, "accuracy")
    assert "what they tell is not charged" in section(html, "budget")
    (tmp_path / "record.json").write_text(replace(record, rounds=()).to_json(), "utf-8")
    assert 'id="cohort"' not in Report.of_folder(tmp_path).to_html()


def test_foreign_text_is_not_read_as_markup(record, changed, attacks, tmp_path):
    hostile = '<script>alert(1)</script>"\x1b[2J'
    spoilt = changed(attempt={"refused": {hostile: hostile}}, fedprivacy=hostile, run_id=hostile)
    (tmp_path / "record.json").write_text(spoilt.to_json(), "utf-8")
    found = replace(attacks[1], attack=hostile, setting=hostile, protocol=hostile, metric=hostile)
    write_results(tmp_path, "x", (found,))
    html = Report.of_folder(tmp_path).to_html()
    assert "<script" not in html
    assert "\x1b" not in html
    assert "alert(1)" in html


@pytest.mark.parametrize("text", ["{", "[1]", "{}", '[{"schema": "x"}]', "[" * 5000])
def test_results_that_are_none_are_refused(text, tmp_path):
    (tmp_path / "attacks").mkdir()
    (tmp_path / "attacks" / "lira.json").write_text(text, "utf-8")
    with pytest.raises(ConfigurationError, match=r"lira\.json holds no results"):
        Report.of_folder(tmp_path)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="name a run's folder"):
        Report.of_folder(tmp_path)


def test_what_is_refuted_does_not_hold(record, attacks):
    above = replace(attacks[1], measured=(Measured(seed=1, target=0.9, control=0.5, bound=0.7),))
    accused = replace(record, audit=replace(AUDIT, accused=True))
    found = {a.text: a.holds for a in run_assumptions(accused, (above,))}
    broken = [text for text, holds in found.items() if holds is Holding.BROKEN]
    assert len(broken) == 2
    assert any("lira (secagg)" in text for text in broken)
    assert any("canaries" in text for text in broken)
    calm = run_assumptions(record, attacks)
    assert not [a for a in calm if a.holds is Holding.BROKEN]


def test_too_little_noise_in_a_sum_is_seen(record):
    seen = record.rounds[0].simulation_only
    less = replace(seen, noise=replace(seen.noise, deviation=seen.noise.planned / 2))
    quiet = replace(record, rounds=(replace(record.rounds[0], simulation_only=less),))
    broken = [a.text for a in run_assumptions(quiet, ()) if a.holds is Holding.BROKEN]
    assert broken == ["at least the noise that is counted was in every sum, as measured"]


@pytest.mark.parametrize("planes", [(5, 3), (1, 5, 3), (3, 5, 3)])
def test_a_picture_is_its_pixels(planes):
    values = np.linspace(-0.5, 1.5, int(np.prod(planes))).reshape(planes)
    values.flat[0] = np.nan
    picture = Picture.of("p", values)
    data = base64.b64decode(picture_uri(picture).partition(",")[2])
    assert struct.unpack(">II", data[16:24]) == (3, 5)
    at = data.index(b"IDAT")
    (size,) = struct.unpack(">I", data[at - 4 : at])
    rows = zlib.decompress(data[at + 4 : at + 4 + size])
    stride = 3 * picture.channels
    assert len(rows) == 5 * (stride + 1)
    assert b"".join(rows[i + 1 : i + 1 + stride] for i in range(0, len(rows), stride + 1)) == (
        picture.pixels
    )
    assert (picture.pixels[0], picture.pixels[-1]) == (0, 255)
    with pytest.raises(ConfigurationError, match="1 or 3 planes"):
        Picture.of("p", np.zeros((2, 4, 4)))


def test_the_officers_guide_names_what_is_on_the_page(html, project):
    guide = (project / "docs/for-dpo.md").read_text("utf-8")
    titles = re.findall(r"<h2>(.*?)</h2>", html)
    for title in titles:
        assert title in guide
    for said in ("epsilon that is left", "Accounted by", "add-or-remove-one", "does not hold"):
        assert said in guide


LAYOUT = """<script>
const charts = [...document.querySelectorAll("svg.chart")].map(svg => ({
  section: svg.closest("section").id,
  marks: [...svg.querySelectorAll(".mark")].filter(m => {
    const box = m.getBBox(); return box.width + box.height > 0.5; }).length,
  wide: svg.getBoundingClientRect().width,
}));
const out = {
  charts, sections: [...document.querySelectorAll("section")].filter(
    s => s.getBoundingClientRect().height > 40).map(s => s.id),
  pictures: [...document.images].filter(i => i.naturalWidth > 0).length,
  over: document.documentElement.scrollWidth - document.documentElement.clientWidth,
};
document.documentElement.innerHTML = "<body><pre>" + JSON.stringify(out) + "</pre>";
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine lays the page out")
@pytest.mark.parametrize("width", [1000, 500], ids=["desk", "narrow"])
def test_a_browser_shows_every_section_and_no_chart_is_empty(html, tmp_path, width):
    # The test's own script measures a copy; the page forbids scripts, and has none.
    page = tmp_path / "page.html"
    bare = re.sub(r'<meta http-equiv="Content-Security-Policy".*?>', "", html, flags=re.DOTALL)
    page.write_text(bare.replace("</body>", f"{LAYOUT}</body>"), "utf-8")
    done = subprocess.run(
        [
            CHROMIUM,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={width},2000",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    seen = json.loads(re.search(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)[1])
    assert seen["sections"] == list(SECTIONS)
    assert len(seen["charts"]) == sum(SECTIONS.values())
    for chart in seen["charts"]:
        assert chart["marks"] >= 2, chart
        assert chart["wide"] > 250, chart
    assert seen["pictures"] == 3
    assert seen["over"] <= 0
