"""`fedprivacy budget`: what is charged to whose privacy, who agreed to it, and whether it is so."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedprivacy.cli.choices import chosen
from fedprivacy.cli.files import read_text, write_text
from fedprivacy.cli.forms import Form, FormOption, tell
from fedprivacy.cli.help import command
from fedprivacy.errors import ConfigurationError, PeerError, Reason

if TYPE_CHECKING:
    from fedprivacy.ledger import BudgetLedger, History, SignedHead, Verification

__all__ = ["register"]


_VARIABLE = "FEDPRIVACY_LEDGER"
_Ledger = Annotated[
    str,
    typer.Option(
        "--ledger",
        envvar=_VARIABLE,
        metavar="PLACE",
        help="A path, sqlite:///path or postgresql+psycopg://user@host/database.",
        show_default=False,
    ),
]
_Export = Annotated[
    Path | None,
    typer.Option("--export", metavar="FILE", help="An exported ledger, instead of --ledger."),
]
_Dataset = Annotated[str, typer.Argument(metavar="DATASET", show_default=False)]
_Unit = Annotated[str, typer.Argument(metavar="UNIT", show_default=False)]
_Approver = Annotated[
    str,
    typer.Option("--approver", metavar="NAME", help="Who agreed to it.", show_default=False),
]
_Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why.", show_default=False)]
_Receipts = Annotated[
    list[Path] | None,
    typer.Option("--receipts", metavar="FILE", help="Heads that a client kept; can be repeated."),
]
_Operator = Annotated[
    Path | None,
    typer.Option(
        "--operator", metavar="NAME.pub", help="The key that signs heads; needed for receipts."
    ),
]


def register(app: typer.Typer) -> None:
    """Make these the commands of a group named `budget`."""
    here = "--ledger ledger.sqlite"
    command(app, "show", f"fedprivacy budget show {here}")(show_budgets)
    command(app, "log", f"fedprivacy budget log {here}")(show_log)
    command(
        app,
        "open",
        "fedprivacy budget open cohort-7 patient --epsilon 8 --delta 1e-6 "
        f"--adjacency replace-one --approver 'ethics board' --reason 'study 12' {here}",
    )(open_budget)
    command(
        app,
        "amend",
        "fedprivacy budget amend cohort-7 patient --epsilon 10 --approver 'ethics board' "
        f"--reason 'extended to 2027' {here}",
    )(amend)
    command(
        app,
        "close",
        "fedprivacy budget close cohort-7 patient --approver 'ethics board' "
        f"--reason 'study ended' {here}",
    )(close)
    command(
        app,
        "verify",
        f"fedprivacy budget verify {here}",
        "fedprivacy budget verify --export ledger.json --receipts a.jsonl --receipts b.jsonl "
        "--operator operator.pub",
    )(verify)
    command(app, "export", f"fedprivacy budget export {here} --key operator.key --out ledger.json")(
        export
    )
    command(
        app,
        "statement",
        f"fedprivacy budget statement cohort-7 patient {here} --plan privacy.toml --units 426",
        "fedprivacy budget statement cohort-7 patient --export ledger.json --format html",
    )(statement)


def show_budgets(*, ledger: _Ledger = "", export: _Export = None) -> None:
    """Print every budget: what is charged, of how much."""
    from fedprivacy.cli.consoles import show
    from fedprivacy.reporting.ledger_report import budget_table

    show(budget_table(_history(ledger, export)[0].budgets))


def show_log(*, ledger: _Ledger = "", export: _Export = None) -> None:
    """Print every row of the ledger, in order."""
    from fedprivacy.reporting.ledger_report import log_lines

    for line in log_lines(_history(ledger, export)[0]):
        typer.echo(line)


def open_budget(
    dataset: _Dataset,
    unit: _Unit,
    *,
    epsilon: Annotated[
        float, typer.Option("--epsilon", metavar="EPS", help="The limit.", show_default=False)
    ],
    delta: Annotated[
        float,
        typer.Option("--delta", metavar="D", help="Well below 1/N.", show_default=False),
    ],
    adjacency: Annotated[
        str,
        typer.Option(
            "--adjacency",
            metavar="NAME",
            help="add-or-remove-one or replace-one, as in the plan.",
            show_default=False,
        ),
    ],
    approver: _Approver,
    reason: _Reason,
    ledger: _Ledger = "",
) -> None:
    """Open the budget of a data set, once and for all; the ledger is made if there is none.

    The unit is whom it protects, named as in the plan.
    """
    from fedprivacy.ledger import BudgetKey, BudgetLedger, BudgetTerms
    from fedprivacy.randomness import SystemRng
    from fedprivacy.rounds.rules import Adjacency

    relation = chosen(Adjacency, "--adjacency", adjacency).value
    place, key = _place(ledger), BudgetKey(dataset, unit)
    # Before anything is made: a ledger without a budget would be left behind.
    BudgetTerms(relation, epsilon, delta).check(str(key))
    with BudgetLedger.found(place, clock=_clock, rng=SystemRng()) as opened:
        opened.open_budget(
            key,
            adjacency=relation,
            epsilon=epsilon,
            delta=delta,
            approver=approver,
            reason=reason,
        )
        _show(opened)


def amend(
    dataset: _Dataset,
    unit: _Unit,
    *,
    approver: _Approver,
    reason: _Reason,
    epsilon: Annotated[
        float | None, typer.Option("--epsilon", metavar="EPS", help="The new limit.")
    ] = None,
    delta: Annotated[
        float | None, typer.Option("--delta", metavar="D", help="The new delta.")
    ] = None,
    ledger: _Ledger = "",
) -> None:
    """Change a budget's limit. What was charged stays charged."""
    from fedprivacy.ledger import BudgetKey

    if epsilon is None and delta is None:
        raise ConfigurationError("nothing is amended: give --epsilon or --delta")
    with _opened(ledger) as opened:
        opened.amend_budget(
            BudgetKey(dataset, unit), epsilon=epsilon, delta=delta, approver=approver, reason=reason
        )
        _show(opened)


def close(
    dataset: _Dataset, unit: _Unit, *, approver: _Approver, reason: _Reason, ledger: _Ledger = ""
) -> None:
    """Let a budget give nothing more. It is never opened again."""
    from fedprivacy.ledger import BudgetKey

    with _opened(ledger) as opened:
        opened.close_budget(BudgetKey(dataset, unit), approver=approver, reason=reason)
        _show(opened)


def verify(
    *,
    receipts: _Receipts = None,
    operator: _Operator = None,
    ledger: _Ledger = "",
    export: _Export = None,
) -> None:
    """Check every row, and what receipts say against them.

    It exits with 6 where the operator contradicts what it signed. Rows of which nobody kept a head
    can be cut off unseen: the more clients keep heads, the fewer.
    """
    from fedprivacy.reporting.ledger_report import verification_lines
    from fedprivacy.reporting.text import counted

    verification, places = _verified(*_history(ledger, export), receipts, operator)
    for line in verification_lines(verification, places):
        typer.echo(line)
    if accusing := verification.contradicted:
        told = counted(len({finding.receipt for finding in accusing}), "receipt")
        raise PeerError(
            Reason.RECEIPT_CHANGED, f"the ledger contradicts {told}: {accusing[0].detail}"
        )


def export(
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The new file.", show_default=False)
    ],
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="NAME.key", help="The operator's key, to sign the head."),
    ] = None,
    ledger: _Ledger = "",
) -> None:
    """Write all rows to a file from which anybody can check them."""
    from fedprivacy.crypto import Identity
    from fedprivacy.ledger import SignedHead

    history, _ = _history(ledger, None)
    signed = None
    if key is not None:
        signer = Identity.load(key, "operator").key
        signed = SignedHead.sign(
            signer, history.state.ledger, len(history.heads) - 1, history.heads[-1]
        )
    write_text(out, history.to_json(signed))
    typer.echo(f"{out}: {len(history.heads)} rows, head {history.heads[-1].hex()}")


def statement(
    dataset: _Dataset,
    unit: _Unit,
    *,
    plan: Annotated[
        Path | None,
        typer.Option("--plan", metavar="PRIVACY.toml", help="The plan of the runs charged."),
    ] = None,
    units: Annotated[
        int | None,
        typer.Option("--units", min=1, metavar="N", help="Units in the data set."),
    ] = None,
    receipts: _Receipts = None,
    operator: _Operator = None,
    form: FormOption = Form.TEXT,
    ledger: _Ledger = "",
    export: _Export = None,
) -> None:
    """Print what an auditor asks: what is promised, for whom, and what it rests on."""
    from fedprivacy.ledger import BudgetKey
    from fedprivacy.reporting.privacy_statement import PrivacyStatement
    from fedprivacy.rounds import Plan

    history, signed = _history(ledger, export)
    said = PrivacyStatement.of(
        history.state.budget(BudgetKey(dataset, unit)),
        _verified(history, signed, receipts, operator)[0],
        plan=None if plan is None else Plan.from_toml(plan),
        units=units,
    )
    tell(said, form)


def _clock() -> int:
    return int(time.time())


def _place(ledger: str) -> str:
    if not ledger:
        raise ConfigurationError("no ledger is named: give --ledger, or set FEDPRIVACY_LEDGER")
    return ledger


def _opened(ledger: str) -> BudgetLedger:
    from fedprivacy.ledger import BudgetLedger, LedgerAccountant

    return BudgetLedger(_place(ledger), clock=_clock, accountant=LedgerAccountant())


def _show(ledger: BudgetLedger) -> None:
    from fedprivacy.cli.consoles import show
    from fedprivacy.reporting.ledger_report import budget_table

    show(budget_table(ledger.budgets()))


def _history(ledger: str, export: Path | None) -> tuple[History, SignedHead | None]:
    from fedprivacy.ledger import History

    if export is not None and ledger and ledger != os.environ.get(_VARIABLE):
        raise ConfigurationError(
            f"--ledger {ledger} and --export {export} are two ledgers: name one of them"
        )
    if export is not None:
        return History.from_json(read_text(export))
    with _opened(ledger) as opened:
        return opened.history(), None


def _verified(
    history: History,
    signed: SignedHead | None,
    receipts: list[Path] | None,
    operator: Path | None,
) -> tuple[Verification, list[str]]:
    """What receipts say of a ledger, and where each of them stood."""
    from fedprivacy.crypto import Authority
    from fedprivacy.ledger.heads import load_heads

    pool: list[SignedHead] = []
    places: list[str] = []
    for path in receipts or []:
        heads = load_heads(read_text(path), str(path))
        pool += heads
        places += [f"{path}, receipt {number}" for number in range(1, len(heads) + 1)]
    public = None if operator is None else Authority.from_json(read_text(operator)).public_key
    if signed is not None and public is not None:
        if not signed.is_signed_by(public):
            raise PeerError(
                Reason.MALFORMED, f"the export is not signed by {operator}: ask whose key signed it"
            )
        pool.append(signed)  # what was exported must be what was signed
        places.append("the export's own head")
    return history.verify(pool, operator=public), places
