"""Two edits that make a Flower app private, each at a place that its syntax tree names.

What is not laid out as Flower's quickstarts are is not edited: the refusal says what to write.
"""

from __future__ import annotations

import ast
import difflib
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedprivacy.errors import ConfigurationError
from fedprivacy.rounds import Plan

__all__ = ["PLAN_FILE", "Change", "edits_of_app", "edits_of_client", "edits_of_server"]

PLAN_FILE = "privacy.toml"
_BY_HAND_SERVER = (
    "by hand: strategy = PrivateStrategy(strategy, plan=Plan.from_toml(Path(__file__).parents[1] / "
    '"privacy.toml")), after `from pathlib import Path`, `from fedprivacy import Plan` and `from '
    "fedprivacy.flower import PrivateStrategy`"
)
_BY_HAND_CLIENT = (
    "by hand: app = ClientApp(mods=[privacy_mod]), after `from fedprivacy.flower import "
    "privacy_mod`; its functions are @app.train() and take a Message"
)
_REPLACED = frozenset(
    {"adaptiveclipping_mod", "fixedclipping_mod", "LocalDpMod", "secagg_mod", "secaggplus_mod"}
)
"""Mods of Flower's in whose place a plan stands."""

_PLAN = """\
# The plan: public, the same for everyone, hashed into every round. Read it before you run.

schema = "fedprivacy/plan/1"

[dataset]
id = {name}
unit = "client"                     # whom the protection speaks of: a client as a whole

[aggregation]
protocol = "secagg"
adversary = "honest-but-curious"    # the server follows the protocol; "malicious" needs a directory
min_clients = 3                     # no sum over fewer clients is ever unmasked: raise it
corrupt = 1                         # clients that may be in league with the server

[update]
clip = 10.0                         # L2 norm of one client's update: what is longer is shortened
value_bits = 20                     # of one coordinate of the clipped update
weights = "summed"                  # num-examples are in the sum, and seen nowhere else
max_units_per_client = 100000       # the largest num-examples that counts

# No noise is added: what a sum itself tells of a client is not bounded. With [noise], weights are
# "uniform" and PrivateStrategy takes a ledger: see `fedprivacy budget plan --help`.
"""


@dataclass(frozen=True, slots=True)
class Change:
    """One file, before and after; `before` is None for one that is made."""

    path: Path
    before: str | None
    after: str

    def diff(self, folder: Path) -> str:
        """A unified diff, with paths relative to the folder."""
        name = self.path.relative_to(folder).as_posix()
        old = "/dev/null" if self.before is None else f"a/{name}"
        lines = difflib.unified_diff(
            (self.before or "").splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            old,
            f"b/{name}",
        )
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def edits_of_app(folder: Path) -> list[Change]:
    """What is to change in an app; raises `ConfigurationError` where that is not certain."""
    about = _project(folder)
    server, client = _component(folder, about, "serverapp"), _component(folder, about, "clientapp")
    changes = []
    for path, edit in ((server, edits_of_server), (client, edits_of_client)):
        text = _read(path)
        edited = edit(text, path, len(path.relative_to(folder).parts) - 1)
        if edited != text:
            changes.append(Change(path, text, edited))
    if not changes:
        raise ConfigurationError(f"{folder} has PrivateStrategy and privacy_mod: nothing to do")
    plan = folder / PLAN_FILE
    if plan.exists():
        Plan.from_toml(plan)
    else:
        name = _toml_text(str(about.get("project", {}).get("name") or folder.resolve().name))
        changes.append(Change(plan, None, _PLAN.format(name=name)))
    return changes


def edits_of_server(text: str, path: Path, up: int) -> str:
    """The server's module with its strategy wrapped, if it is not yet.

    The plan is `up` folders above its own.
    """
    code = _Code.parse(text, path, _BY_HAND_SERVER)
    if code.imports("PrivateStrategy"):
        return text
    made = _strategy(code)
    name = ast.unparse(made.func).rpartition(".")[2]
    if why := _refusal(name):
        raise ConfigurationError(f"{path}:{made.lineno}: {why}")
    code.need("pathlib", "Path")
    code.need("fedprivacy", "Plan")
    code.need("fedprivacy.flower", "PrivateStrategy")
    start, end = code.span(made)
    margin = " " * _indent(code.lines[made.lineno - 1])
    inner = code.text[start:end]
    if not any(_spans_lines(node) for node in ast.walk(made)):
        inner = inner.replace("\n", "\n    ")
    plan = f'Plan.from_toml(Path(__file__).parents[{up}] / "{PLAN_FILE}")'
    wrapped = f"PrivateStrategy(\n{margin}    {inner},\n{margin}    plan={plan},\n{margin})"
    code.replace(start, end, wrapped)
    return code.edited()


def edits_of_client(text: str, path: Path, up: int) -> str:  # noqa: ARG001 - as edits_of_server
    """The client's module with the mod first in its list, if it is in none yet."""
    code = _Code.parse(text, path, _BY_HAND_CLIENT)
    _check_lifespan(code)
    if code.imports("privacy_mod"):
        return text
    named = code.imported({"flwr.clientapp", "flwr.client"}, "ClientApp")
    calls = [n for n in code.calls() if isinstance(n.func, ast.Name) and n.func.id in named]
    if len(calls) != 1:
        raise code.unsure(f"{len(calls)} calls of Flower's ClientApp where one is edited")
    (call,) = calls
    if call.args or any(k.arg in (None, "client_fn") for k in call.keywords):
        raise code.unsure("ClientApp is given a client_fn, not functions that take a Message", call)
    _check_functions(code)
    code.need("fedprivacy.flower", "privacy_mod")
    mods = next((k.value for k in call.keywords if k.arg == "mods"), None)
    if mods is None:
        _, after = code.span(call.func)
        place = code.text.index("(", after) + 1
        code.replace(place, place, "mods=[privacy_mod]" + (", " if call.keywords else ""))
    elif isinstance(mods, ast.List):
        _check_mods(code, mods)
        place = code.span(mods)[0] + 1
        code.replace(place, place, "privacy_mod" + (", " if mods.elts else ""))
    else:
        raise code.unsure("mods is no list that stands there", mods)
    return code.edited()


# ------------------------------------------------------------------ where


def _strategy(code: _Code) -> ast.Call:
    """The one call that makes the strategy whose `start` is given the Grid."""
    mains = [f for f in code.functions() if any(_is_call_of(d, "main") for d in f.decorator_list)]
    if len(mains) != 1 or not mains[0].args.args:
        raise code.unsure(f"{len(mains)} functions under @app.main() where one is edited")
    (main,) = mains
    grid = main.args.args[0].arg
    starts = [n for n in ast.walk(main) if isinstance(n, ast.Call) and _starts_with(n, grid)]
    owners = [n.func.value for n in starts if isinstance(n.func, ast.Attribute)]
    if len(owners) != 1 or not isinstance(owners[0], ast.Name):
        raise code.unsure(f"{len(starts)} calls of a strategy's start(grid=...) where one is clear")
    name = owners[0].id
    stores = [
        n
        for n in ast.walk(main)
        if isinstance(n, ast.Name) and n.id == name and not isinstance(n.ctx, ast.Load)
    ]
    made = [
        n.value
        for n in ast.walk(main)
        if isinstance(n, ast.Assign | ast.AnnAssign)
        and [ast.unparse(t) for t in (n.targets if isinstance(n, ast.Assign) else [n.target])]
        == [name]
    ]
    if len(stores) != 1 or len(made) != 1 or not isinstance(made[0], ast.Call):
        raise code.unsure(f"{name} is not set once, by one call, in {main.name}()", main)
    return made[0]


def _starts_with(call: ast.Call, grid: str) -> bool:
    """Whether it is `….start(grid)`."""
    if not (isinstance(call.func, ast.Attribute) and call.func.attr == "start"):
        return False
    given = [*call.args[:1], *(k.value for k in call.keywords if k.arg == "grid")]
    return any(isinstance(value, ast.Name) and value.id == grid for value in given)


def _check_functions(code: _Code) -> None:
    marks = [d for f in code.functions() for d in f.decorator_list if isinstance(d, ast.Call)]
    if not any(_is_call_of(mark, "train") for mark in marks):
        raise code.unsure("no function under @app.train()")
    for mark in marks:
        if any(keyword.arg == "mods" for keyword in mark.keywords):
            raise code.unsure("a function has mods of its own: take them out first", mark)


def _check_lifespan(code: _Code) -> None:
    for mark in (d for f in code.functions() for d in f.decorator_list):
        if _is_call_of(mark, "lifespan"):
            raise code.unsure(
                "@app.lifespan() runs outside of privacy_mod, and Flower sends the server the text "
                "of an error in it: take it out first",
                mark,
            )


def _check_mods(code: _Code, mods: ast.List) -> None:
    for mod in mods.elts:
        name = ast.unparse(mod.func if isinstance(mod, ast.Call) else mod).rpartition(".")[2]
        if name in _REPLACED:
            raise code.unsure(f"{name} does what the plan is to say: take it out first", mod)


def _is_call_of(node: ast.expr, name: str) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == name
    )


def _refusal(strategy: str) -> str:
    from fedprivacy.flower.strategy import refusal_of

    return refusal_of(strategy)


# ------------------------------------------------------------------ a module's text


@dataclass(slots=True)
class _Code:
    """A module, its tree, and what is to be put in place of parts of its text."""

    text: str
    path: Path
    by_hand: str
    tree: ast.Module
    lines: list[str]
    _edits: list[tuple[int, int, str]] = field(default_factory=list)
    _needed: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, text: str, path: Path, by_hand: str) -> _Code:
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError) as error:
            raise ConfigurationError(f"{path} is no Python: {error}") from None
        # As ast counts them: form feeds and the like end no line.
        return cls(text, path, by_hand, tree, text.split("\n"))

    def unsure(self, what: str, at: ast.expr | ast.stmt | None = None) -> ConfigurationError:
        where = str(self.path) if at is None else f"{self.path}:{at.lineno}"
        return ConfigurationError(f"{where}: {what}. Nothing is edited; {self.by_hand}")

    def calls(self) -> Iterator[ast.Call]:
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.Call))

    def functions(self) -> list[ast.FunctionDef]:
        return [node for node in self.tree.body if isinstance(node, ast.FunctionDef)]

    def imported(self, modules: set[str], name: str) -> set[str]:
        """Under which names it was imported at the top of the module."""
        return {
            alias.asname or alias.name
            for node in self.tree.body
            if isinstance(node, ast.ImportFrom) and node.module in modules and not node.level
            for alias in node.names
            if alias.name == name
        }

    def imports(self, name: str) -> bool:
        """Whether the name stands anywhere in the module."""
        return any(
            isinstance(node, ast.alias) and node.name.rpartition(".")[2] == name
            for node in ast.walk(self.tree)
        )

    def need(self, module: str, name: str) -> None:
        """See that the name is imported; raises `ConfigurationError` where it means another."""
        if name in self.imported({module}, name):
            return
        if name in _bound(self.tree):
            raise self.unsure(f"{name} is already the name of something else")
        apart = "\n" if module in sys.stdlib_module_names else ""
        self._needed.append(f"from {module} import {name}\n{apart}")

    def span(self, node: ast.expr) -> tuple[int, int]:
        """From where to where it stands in the text."""
        return (
            self._place(node.lineno, node.col_offset),
            self._place(node.end_lineno or 0, node.end_col_offset or 0),
        )

    def _place(self, line: int, column: int) -> int:
        # ast counts columns in bytes of UTF-8.
        before = sum(len(text) + 1 for text in self.lines[: line - 1])
        return before + len(self.lines[line - 1].encode()[:column].decode())

    def replace(self, start: int, end: int, by: str) -> None:
        self._edits.append((start, end, by))

    def edited(self) -> str:
        """The new text, which is Python again."""
        flower = [
            node
            for node in self.tree.body
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flwr")
        ]
        if not flower:
            raise self.unsure("nothing is imported from flwr at its top")
        place = sum(len(text) + 1 for text in self.lines[: flower[0].lineno - 1])
        text = self.text
        edits = [*self._edits, (place, place, "".join(self._needed))]
        for start, end, by in sorted(edits, reverse=True):
            text = text[:start] + by + text[end:]
        try:
            ast.parse(text)
        except SyntaxError:
            raise self.unsure("its layout is an unusual one") from None
        return text


def _bound(tree: ast.Module) -> set[str]:
    """Every name that is set anywhere in the module."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.alias(name=name, asname=asname):
                names.add((asname or name).partition(".")[0])
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case _:
                pass
    return names


def _spans_lines(node: ast.AST) -> bool:
    """Whether it is a text over several lines, which indentation would change."""
    is_text = isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    )
    return is_text and getattr(node, "lineno", 0) != getattr(node, "end_lineno", 0)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


# ------------------------------------------------------------------ the app's folder


def _project(folder: Path) -> dict[str, Any]:
    path = folder / "pyproject.toml"
    try:
        return tomllib.loads(_read(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is no TOML: {error}") from None


def _component(folder: Path, about: dict[str, Any], kind: str) -> Path:
    """The module of `serverapp` or `clientapp`, which pyproject.toml names as `module:app`."""
    section: Any = about
    for key in ("tool", "flwr", "app", "components"):
        section = section.get(key, {}) if isinstance(section, dict) else {}
    named = section.get(kind) if isinstance(section, dict) else None
    if not isinstance(named, str) or ":" not in named:
        raise ConfigurationError(
            f"{folder / 'pyproject.toml'}: tool.flwr.app.components.{kind} is missing: name the "
            "folder of a Flower app"
        )
    path = folder.joinpath(*named.partition(":")[0].split(".")).with_suffix(".py")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ConfigurationError(f"{path} is outside of {folder}: it is not edited")
    return path


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            text = file.read()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not text in UTF-8") from None
    if "\r" in text:
        raise ConfigurationError(f"{path} has lines that end in CR LF: convert it to LF first")
    return text


def _toml_text(text: str) -> str:
    kept = "".join(c for c in text if c.isprintable() and c not in '"\\')[:128]
    return f'"{kept or "app"}"'
