"""`fedprivacy budget`: how noise, rounds and epsilon go together, before anything runs."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedprivacy.cli.choices import chosen
from fedprivacy.cli.help import command, group
from fedprivacy.errors import ConfigurationError

if TYPE_CHECKING:
    from fedprivacy.accounting import Workload
    from fedprivacy.dp.events import Adjacency, Release, Sample
    from fedprivacy.reporting.budget_report import BudgetReport

__all__ = ["app"]

_PLAN = "fedprivacy budget plan --epsilon 4 --delta 1e-6 --rounds 200 --clients 5000 --rate 0.02"
_EPSILON = "fedprivacy budget epsilon --noise-multiplier 0.8 --rate 0.05 --rounds 1000 --delta 1e-6"
_ROUNDS = "fedprivacy budget rounds --epsilon 4 --delta 1e-6 --noise-multiplier 1 --rate 0.02"

app = group(
    "What noise, rounds and epsilon go together, before anything runs.", _PLAN, _EPSILON, _ROUNDS
)

_LENGTH = 1_000_000
_BITS = 16
_MECHANISM = "gaussian"
_ADJACENCY = "add-or-remove-one"

_Epsilon = Annotated[float, typer.Option("--epsilon", metavar="E", help="The budget's epsilon.")]
_Delta = Annotated[
    float, typer.Option("--delta", metavar="D", help="Its delta: well below 1 / clients.")
]
_Rounds = Annotated[int, typer.Option("--rounds", metavar="N", help="Rounds in all.")]
_Noise = Annotated[
    float,
    typer.Option(
        "--noise-multiplier",
        metavar="Z",
        help="Deviation of the noise in the sum over its L2 sensitivity.",
    ),
]
_Clients = Annotated[
    int, typer.Option("--clients", metavar="N", help="All from whom a round draws.")
]
_MaybeClients = Annotated[
    int | None,
    typer.Option("--clients", metavar="N", help="All from whom a round draws, if that is known."),
]
_Rate = Annotated[
    float, typer.Option("--rate", metavar="RATE", help="The share of units drawn in a round.")
]
_Sampling = Annotated[
    str | None,
    typer.Option(
        "--sampling",
        metavar="NAME",
        help="all, poisson, fixed-size or shuffle; with a rate below 1, poisson when left out.",
    ),
]
_Secrecy = Annotated[
    str,
    typer.Option(
        "--sample", metavar="NAME", help="Who was drawn is hidden from the adversary, or seen."
    ),
]
_Adjacency = Annotated[
    str, typer.Option("--adjacency", metavar="NAME", help="add-or-remove-one or replace-one.")
]
_Mechanism = Annotated[
    str,
    typer.Option(
        "--mechanism",
        metavar="NAME",
        help="gaussian, discrete-gaussian, distributed-discrete-gaussian or skellam.",
    ),
]
_Clip = Annotated[
    float, typer.Option("--clip", metavar="NORM", help="L2 norm of one unit's vector.")
]
_Bits = Annotated[
    int, typer.Option("--bits", metavar="N", help="Bits of a value before it is summed.")
]
_Length = Annotated[int, typer.Option("--length", metavar="N", help="Parameters in one update.")]
_Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", help="Write epsilon against rounds: .svg, .png, .pdf."),
]
_AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@command(app, "plan", _PLAN, f"{_PLAN} --mechanism skellam --length 100000")
def plan(
    *,
    epsilon: _Epsilon,
    delta: _Delta,
    rounds: _Rounds,
    clients: _Clients,
    rate: _Rate = 1.0,
    sampling: _Sampling = None,
    secrecy: _Secrecy = "hidden",
    adjacency: _Adjacency = _ADJACENCY,
    mechanism: _Mechanism = _MECHANISM,
    clip: _Clip = 1.0,
    bits: _Bits = _BITS,
    length: _Length = _LENGTH,
    plot: _Plot = None,
    as_json: _AsJson = False,
) -> None:
    """Say how much noise a budget needs, and what that does to the mean.

    The unit of privacy is a client.
    """
    from fedprivacy.accounting import noise_for
    from fedprivacy.dp.events import SampleSecrecy
    from fedprivacy.reporting.budget_report import BudgetReport, CostRecord

    sample = _sample(rate, sampling, secrecy)
    work = _workload(mechanism, clients, sample, clip, bits, length)
    adjacent = _adjacency(adjacency)
    budget = {"epsilon": epsilon, "delta": delta}
    multiplier, bound = noise_for(work, **budget, rounds=rounds, adjacency=adjacent)
    seen = None
    if sample.rate < 1 and sample.secrecy is SampleSecrecy.HIDDEN:
        known = dataclasses.replace(sample, secrecy=SampleSecrecy.SEEN)
        open_work = dataclasses.replace(work, sample=known)
        seen, _ = noise_for(open_work, **budget, rounds=rounds, adjacency=adjacent)
        seen = seen if seen > multiplier else None
    release = work.release(multiplier, rounds)
    report = BudgetReport.of(
        bound,
        release,
        mechanism=work.mechanism.value,
        noise_multiplier=multiplier,
        rounds=rounds,
        adjacency=adjacent,
        clients=clients,
        cost=CostRecord.of(work.cost(multiplier), work, seen),
    )
    _end(report, release, adjacent, plot, as_json=as_json)


@command(
    app, "epsilon", _EPSILON, f"{_EPSILON} --sampling poisson --json", f"{_EPSILON} --plot e.svg"
)
def epsilon_(
    *,
    noise_multiplier: _Noise,
    rounds: _Rounds,
    delta: _Delta,
    rate: _Rate = 1.0,
    sampling: _Sampling = None,
    secrecy: _Secrecy = "hidden",
    adjacency: _Adjacency = _ADJACENCY,
    mechanism: _Mechanism = _MECHANISM,
    clients: _MaybeClients = None,
    clip: _Clip = 1.0,
    bits: _Bits = _BITS,
    length: _Length = _LENGTH,
    plot: _Plot = None,
    as_json: _AsJson = False,
) -> None:
    """Say what epsilon so much noise gives over so many rounds, and how tightly that is known."""
    work = _workload(mechanism, clients, _sample(rate, sampling, secrecy), clip, bits, length)
    release = work.release(noise_multiplier, rounds)
    given = noise_multiplier, delta, _adjacency(adjacency)
    _tell_epsilon(work, release, rounds, *given, clients, plot, as_json=as_json)


@command(app, "rounds", _ROUNDS)
def rounds_(
    *,
    epsilon: _Epsilon,
    delta: _Delta,
    noise_multiplier: _Noise,
    rate: _Rate = 1.0,
    sampling: _Sampling = None,
    secrecy: _Secrecy = "hidden",
    adjacency: _Adjacency = _ADJACENCY,
    mechanism: _Mechanism = _MECHANISM,
    clients: _MaybeClients = None,
    clip: _Clip = 1.0,
    bits: _Bits = _BITS,
    length: _Length = _LENGTH,
    plot: _Plot = None,
    as_json: _AsJson = False,
) -> None:
    """Say how many rounds a budget buys with so much noise."""
    from fedprivacy.accounting import rounds_within

    work = _workload(mechanism, clients, _sample(rate, sampling, secrecy), clip, bits, length)
    given = noise_multiplier, delta, _adjacency(adjacency)
    one = work.release(noise_multiplier, 1)
    bought = rounds_within(one, epsilon=epsilon, delta=delta, adjacency=given[-1])
    release = dataclasses.replace(one, count=max(1, bought))
    _tell_epsilon(work, release, bought, *given, clients, plot, as_json=as_json)


def _tell_epsilon(
    work: Workload,
    release: Release,
    rounds: int,
    noise_multiplier: float,
    delta: float,
    adjacency: Adjacency,
    clients: int | None,
    plot: Path | None,
    *,
    as_json: bool,
) -> None:
    """What so many rounds cost; of none, the release is what the plot is drawn of."""
    from fedprivacy.accounting import epsilon_of
    from fedprivacy.reporting.budget_report import BudgetReport

    report = BudgetReport.of(
        epsilon_of([release] if rounds else [], delta, adjacency),
        release,
        mechanism=work.mechanism.value,
        noise_multiplier=noise_multiplier,
        rounds=rounds,
        adjacency=adjacency,
        clients=clients,
    )
    _end(report, release, adjacency, plot, as_json=as_json)


def _end(
    report: BudgetReport,
    release: Release,
    adjacency: Adjacency,
    plot: Path | None,
    *,
    as_json: bool,
) -> None:
    from fedprivacy.cli.consoles import show

    if plot is not None:
        from fedprivacy.reporting.budget_plot import plot_epsilon

        plot_epsilon(release, report.delta, adjacency, plot)
    if as_json:
        sys.stdout.write(report.to_json())
    else:
        show(report.parts())


def _adjacency(written: str) -> Adjacency:
    from fedprivacy.dp.events import Adjacency

    return chosen(Adjacency, "--adjacency", written)


def _sample(rate: float, sampling: str | None, secrecy: str) -> Sample:
    from fedprivacy.dp.events import Sample, SampleSecrecy, Sampling

    if sampling is None:
        scheme = Sampling.ALL if rate == 1 else Sampling.POISSON
    else:
        scheme = chosen(Sampling, "--sampling", sampling)
    if scheme is Sampling.ALL and rate != 1:
        raise ConfigurationError(
            f"--rate {rate} has no use with --sampling all: leave it out, or name how it is drawn"
        )
    if not 0 < rate <= 1:
        raise ConfigurationError(
            f"--rate {rate} is outside (0, 1]: give the share of units drawn in a round"
        )
    return Sample(scheme, rate, chosen(SampleSecrecy, "--sample", secrecy))


def _workload(
    mechanism: str, clients: int | None, sample: Sample, clip: float, bits: int, length: int
) -> Workload:
    from fedprivacy.accounting import NoiseModel, Workload

    noise = chosen(NoiseModel, "--mechanism", mechanism)
    if clients is None and noise is NoiseModel.DISTRIBUTED_DISCRETE_GAUSSIAN:
        raise ConfigurationError(
            f"--mechanism {noise.value} depends on how many share the noise: give --clients N"
        )
    # Where it is not told, the number of clients changes nothing: one a round will do.
    known = round(1 / sample.rate + 0.5) if clients is None else clients
    return Workload(noise, known, sample, clip, bits, length)
