"""`fedprivacy flower init`: an app as quickstarts are becomes private, or nothing changes."""

import importlib
import io
import shutil
import sys
import tomllib

import pytest
from flwr.app import Context, RecordDict

from fedprivacy.cli import main
from fedprivacy.errors import ConfigurationError
from fedprivacy.flower.app_edits import edits_of_app, edits_of_client, edits_of_server
from fedprivacy.rounds import Plan

SERVER = """\
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import {imported}

app = ServerApp()


@app.main()
def main(grid, context):
{body}
"""
CLIENT = """\
from flwr.clientapp import ClientApp
{before}
app = {call}


@app.train({options})
def train(msg, context): ...
"""
LIFESPAN = """

@app.lifespan()
def lifespan(context):
    yield
"""


@pytest.fixture
def app(project, tmp_path):
    """A copy of the quickstart, which is not private."""
    return shutil.copytree(project / "tests/flower/apps/quickstart", tmp_path / "quickstart")


@pytest.fixture
def init(capsys, monkeypatch):
    """Runs the command, with an answer to what it asks."""

    def run(*words, answer=""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        with pytest.raises(SystemExit) as ended:
            main(["flower", "init", *map(str, words)])
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


@pytest.fixture
def modules(monkeypatch):
    """Imports an app's modules from its folder, and forgets them."""

    def load(folder):
        monkeypatch.syspath_prepend(str(folder))
        for name in [n for n in sys.modules if n.partition(".")[0] == "quickstart"]:
            monkeypatch.delitem(sys.modules, name)
        loaded = [importlib.import_module(f"quickstart.{n}_app") for n in ("server", "client")]
        for name in [n for n in sys.modules if n.partition(".")[0] == "quickstart"]:
            monkeypatch.setitem(sys.modules, name, sys.modules[name])  # is taken out again
        return loaded

    yield load
    for name in [n for n in sys.modules if n.partition(".")[0] == "quickstart"]:
        del sys.modules[name]


def files(folder):
    return {path: path.read_text() for path in folder.rglob("*") if path.suffix in (".py", ".toml")}


def server(body, imported="FedAvg"):
    lines = "\n".join(f"    {line}" if line else "" for line in body.splitlines())
    return SERVER.format(body=lines, imported=imported)


def client(call, *, before="", options=""):
    return CLIENT.format(call=call, before=before, options=options)


# ------------------------------------------------------------------ the command


def test_a_quickstart_becomes_private_and_runs(app, init, house, modules, capsys):
    code, _, err = init(app, "--yes")
    assert (code, err) == (0, "")
    home = house(plan=(app / "privacy.toml").read_text())
    server_app, client_app = modules(app)
    home.grid.apps = dict.fromkeys(home.nodes, client_app.app)
    replies, delivered = [], home.grid.delivered
    home.grid.delivered = lambda m: replies.extend(got := delivered(m)) or got
    config = tomllib.loads((app / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    for context in home.grid.contexts.values():
        context.run_config = config
    context = Context(1, 0, {}, RecordDict(), config)
    server_app.app(home.grid, context)
    printed = capsys.readouterr().out
    accuracies = [float(a) for a in printed.rpartition("[")[2].rpartition("]")[0].split(", ")]
    assert len(accuracies) == 4
    assert accuracies[-1] > 0.85
    assert len(replies) == 4 * (1 + 3 * 4)
    assert all(set(reply.content) == {"fedprivacy"} for reply in replies)


def test_the_diff_is_shown_before_anything_is_written(app, init):
    before = files(app)
    for answer in ("n\n", ""):
        code, out, _ = init(app, answer=answer)
        assert code == 1
        assert files(app) == before
        assert "Nothing was written" in out
    for line in (
        "+++ b/quickstart/server_app.py",
        "+app = ClientApp(mods=[privacy_mod])",
        "+    strategy = PrivateStrategy(",
        "--- /dev/null",
        "+++ b/privacy.toml",
    ):
        assert line in out.splitlines()
    code, out, _ = init(app, answer="y\n")
    assert code == 0
    assert files(app) != before


def test_it_says_what_is_protected_and_what_comes_next(app, init):
    _, out, _ = init(app, "--yes")
    for words in (
        "What it protects (clients run whatever app the server sends, so that it must send this",
        "A client as a whole, and none of those within it",
        "No noise is added",
        "set min_train_nodes and min_available_nodes of the strategy to at\n  least 3",
        "fedprivacy flower keys",
    ):
        assert words in out
    assert Plan.from_toml(app / "privacy.toml").dataset.id == "quickstart"


def test_it_says_what_a_plan_that_is_there_asks_for(app, init, project):
    shutil.copy(project / "examples/flower/analytics-histogram/privacy.toml", app / "privacy.toml")
    _, out, _ = init(app, "--yes")
    # A node runs any app, whatever the plan says: no word of a server that may lie.
    assert "What it protects (clients run whatever app the server sends" in out
    assert "may lie" not in out
    assert "--trusted-entities" in out
    assert "The unit is one patient: training has to return a row for each, as" in out
    assert 'directory="/tmp/nodes/directory.json" and ledger="/tmp/nodes/budget.db"' in out
    assert "No noise" not in out


def test_a_plan_that_is_there_stays(app, project):
    shutil.copy(project / "examples/hospitals/privacy.toml", app / "privacy.toml")
    assert [change.path.name for change in edits_of_app(app)] == ["server_app.py", "client_app.py"]
    (app / "privacy.toml").write_text("schema = 3\n")
    with pytest.raises(ConfigurationError, match=r"plan\.schema"):
        edits_of_app(app)


def test_an_app_that_is_private_is_not_edited_twice(app, init):
    init(app, "--yes")
    before = files(app)
    code, _, err = init(app, "--yes")
    assert code != 0
    assert "has PrivateStrategy and privacy_mod: nothing to do" in err
    assert files(app) == before


def test_the_half_that_is_missing_is_added(app, init):
    client_app = app / "quickstart/client_app.py"
    before = client_app.read_text()
    init(app, "--yes")
    edited = client_app.read_text()
    client_app.write_text(before)
    assert [change.path.name for change in edits_of_app(app)] == ["client_app.py"]
    init(app, "--yes")
    assert client_app.read_text() == edited


@pytest.mark.parametrize(
    ("name", "old", "new", "why"),
    [
        ("pyproject.toml", "serverapp =", "other =", "components.serverapp is missing"),
        ("pyproject.toml", "[project]", "[project", "is no TOML"),
        ("pyproject.toml", "quickstart.server_app", "..server_app", "No such file|outside"),
        ("pyproject.toml", "quickstart.server_app", "quickstart.main", "No such file"),
        ("quickstart/server_app.py", "def central", "def ()", "is no Python"),
        ("quickstart/server_app.py", "FedAvg(", "Krum(", "Krum compares clients' models"),
        ("quickstart/client_app.py", "@app.train()", "@app.train", "no function under @app.train"),
    ],
)
def test_what_is_no_quickstart_is_left_as_it_is(app, init, name, old, new, why):
    path = app / name
    path.write_text(path.read_text().replace(old, new, 1))
    before = files(app)
    with pytest.raises(ConfigurationError, match=why):
        edits_of_app(app)
    assert init(app, "--yes")[0] != 0
    assert files(app) == before


# ------------------------------------------------------------------ places


def test_a_strategy_over_several_lines_keeps_them(tmp_path):
    body = 'strategy = FedAvg(\n    fraction_train=0.5,  # ä "half"\n)\nstrategy.start(grid, None)'
    text = edits_of_server(server(body), tmp_path / "server_app.py", 1)
    assert (
        "    strategy = PrivateStrategy(\n"
        "        FedAvg(\n"
        '            fraction_train=0.5,  # ä "half"\n'
        "        ),\n"
        '        plan=Plan.from_toml(Path(__file__).parents[1] / "privacy.toml"),\n'
        "    )\n"
    ) in text
    assert text.index("from fedprivacy import Plan") < text.index("from flwr.serverapp import")


def test_a_text_over_several_lines_is_not_indented(tmp_path):
    body = 'ä = 1; s = Own("""a\nb""")\nreturn s.start(grid=grid)'
    text = edits_of_server(server(body, "Strategy").replace("    b", "b"), tmp_path / "s.py", 1)
    assert 'Own("""a\nb""")' in text
    assert "ä = 1; s = PrivateStrategy(" in text


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("FedAvg().start(grid=grid)", "calls of a strategy's start"),
        ("s = FedAvg()", "0 calls of a strategy's start"),
        ("s = FedAvg()\ns.start(grid)\ns.start(grid)", "2 calls of a strategy's start"),
        ("s = FedAvg()\ns = other(s)\ns.start(grid)", "s is not set once"),
        ("if context:\n    s = FedAvg()\nelse:\n    s = 0\ns.start(grid)", "s is not set once"),
        ("s = STRATEGY\ns.start(grid)", "s is not set once"),
        ("for s in all():\n    s.start(grid)", "s is not set once"),
        ("Plan = 3\ns = FedAvg()\ns.start(grid)", "Plan is already the name of something else"),
        ("s = QFedAvg()\ns.start(grid)", "weighs clients by their own losses"),
        ("s = DifferentialPrivacyServerSideFixedClipping(FedAvg())\ns.start(grid)", "adds its own"),
    ],
)
def test_a_server_that_is_not_clear_is_refused(tmp_path, body, why):
    with pytest.raises(ConfigurationError, match=why):
        edits_of_server(server(body), tmp_path / "server_app.py", 1)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("ClientApp()", "ClientApp(mods=[privacy_mod])"),
        ("ClientApp( )", "ClientApp(mods=[privacy_mod] )"),
        ("ClientApp(mods=[])", "ClientApp(mods=[privacy_mod])"),
        ("ClientApp(mods=[a, b])", "ClientApp(mods=[privacy_mod, a, b])"),
        ("ClientApp(other=x)", "ClientApp(mods=[privacy_mod], other=x)"),
    ],
)
def test_the_mod_comes_first(tmp_path, call, expected):
    text = edits_of_client(client(call), tmp_path / "client_app.py", 1)
    assert f"app = {expected}\n" in text
    assert "from fedprivacy.flower import privacy_mod\n" in text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (client("ClientApp(client_fn=f)"), "is given a client_fn"),
        (client("ClientApp(f)"), "is given a client_fn"),
        (client("ClientApp(**options)"), "is given a client_fn"),
        (client("ClientApp(mods=MODS)"), "mods is no list"),
        (client("ClientApp(mods=[fixedclipping_mod])"), "take it out first"),
        (client("ClientApp(mods=[LocalDpMod(1.0, 1.0, 1.0, 1e-5)])"), "take it out first"),
        (client("ClientApp()", options="mods=[m]"), "mods of its own"),
        (
            client("ClientApp()") + LIFESPAN,
            r"client_app.py:10: @app.lifespan\(\) runs outside of priv",
        ),
        (
            client("ClientApp()", before="from fedprivacy.flower import privacy_mod") + LIFESPAN,
            r"client_app.py:10: @app.lifespan\(\) runs",
        ),
        (client("ClientApp()", before="other = ClientApp()"), "2 calls of Flower's ClientApp"),
        (client("make()"), "0 calls of Flower's ClientApp"),
    ],
)
def test_a_client_that_is_not_clear_is_refused_with_the_lines_to_write(tmp_path, text, why):
    with pytest.raises(ConfigurationError, match=rf"{why}.*by hand: app = ClientApp\(mods="):
        edits_of_client(text, tmp_path / "client_app.py", 1)


def test_a_class_of_the_same_name_is_not_flowers(tmp_path):
    text = client("ClientApp()").replace("flwr.clientapp", "own.clientapp")
    with pytest.raises(ConfigurationError, match="0 calls of Flower's ClientApp"):
        edits_of_client(text, tmp_path / "client_app.py", 1)
