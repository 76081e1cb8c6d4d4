"""`PrivateStrategy`: a Flower strategy that gets one mean in the place of its clients' models."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import (
    Bulyan,
    DifferentialPrivacyClientSideAdaptiveClipping,
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedMedian,
    FedTrimmedAvg,
    FedXgbBagging,
    FedXgbCyclic,
    MultiKrum,
    QFedAvg,
    Result,
    Strategy,
)

from fedprivacy.crypto import Directory
from fedprivacy.errors import ConfigurationError
from fedprivacy.flower.private_grid import Evaluation, PrivateGrid
from fedprivacy.flower.run import PrivateRun
from fedprivacy.flower.summed_evaluation import SummedEvaluation
from fedprivacy.flower.terms import Terms
from fedprivacy.randomness import Rng, SystemRng
from fedprivacy.rounds import Plan
from fedprivacy.rounds.guarantee import defends_against
from fedprivacy.rounds.rules import Trust
from fedprivacy.secagg import Admission

__all__ = ["PrivateStrategy", "refusal_of"]

_LOG = logging.getLogger("flwr.fedprivacy")

_ROBUST = "compares clients' models one by one, which nobody sees in a private round"
_CLIP = "clip in the plan ([update] clip) bounds each client instead: wrap FedAvg or FedAdam"
_TREES = "collects trees, which have no sum"
_NOISE = "adds its own noise, which no ledger knows: choose [noise] in the plan, wrap FedAvg"
_REFUSED: tuple[tuple[type[Strategy], str, str], ...] = (
    (MultiKrum, _ROBUST, _CLIP),  # Krum is one
    (Bulyan, _ROBUST, _CLIP),
    (FedMedian, _ROBUST, _CLIP),
    (FedTrimmedAvg, _ROBUST, _CLIP),
    (QFedAvg, "weighs clients by their own losses, which would be told", "wrap FedAvg or FedAdam"),
    (FedXgbBagging, _TREES, "there is no private form of it here yet"),
    (FedXgbCyclic, _TREES, "there is no private form of it here yet"),
    (DifferentialPrivacyClientSideAdaptiveClipping, _NOISE, "instead of it"),
    (DifferentialPrivacyClientSideFixedClipping, _NOISE, "instead of it"),
    (DifferentialPrivacyServerSideAdaptiveClipping, _NOISE, "instead of it"),
    (DifferentialPrivacyServerSideFixedClipping, _NOISE, "instead of it"),
)


class PrivateStrategy(Strategy):
    """A strategy whose training rounds are private rounds by a plan; all else is its own.

    `inner` keeps its methods, its `start` among them: it is given a Grid that runs one private
    round (all attempts) for each batch of training messages, and one reply, which stands for all:
    the model with the mean of the clients' clipped updates added, and the total weight. Where a
    round ends without a sum there is no reply. When a budget does not hold another round, or the
    plan's rounds are over, nobody is asked any more and `start` returns its `Result`.

    `directory` is the signed directory or its file, where the plan's adversary does more than look.
    `ledger` (a path, `sqlite:///…`, `postgresql+psycopg://…`) is charged where the plan adds noise.
    Give an absolute path: another is relative to the folder in which Flower was started, so that a
    restart elsewhere opens a new and empty ledger.
    `operator_key` is the file of the key that signs its heads, by default beside the ledger, made
    where there is none. `ceremony` is the server's part of a key ceremony or its file, for `bfv`
    and `ckks`; it decrypts nothing. `evaluate` is `withheld`, `summed` or `open` (`Evaluation`);
    `metrics` names those that are summed, each with the magnitude at which it is cut off.
    `phase_timeout` is how many seconds nodes have to answer where they do not train; for training
    it is the `timeout` of `start`. Where a node has announced an answer and does not upload it, a
    phase takes half a minute longer, and five seconds more for each such node. `folder`, a new one,
    receives the run's record. `trusted_apps` says that every SuperNode takes trusted apps alone
    (`--trusted-entities`): without it nodes run whatever app they are sent, and log and record
    speak of a server that follows the protocol, whatever the plan's adversary. Raises
    `ConfigurationError` for a strategy that needs more than a mean, and for what does not fit the
    plan.
    """

    def __init__(
        self,
        inner: Strategy,
        *,
        plan: Plan,
        directory: Directory | str | Path | None = None,
        ledger: str | Path | None = None,
        operator_key: str | Path | None = None,
        evaluate: Literal["withheld", "summed", "open"] = "withheld",
        metrics: Mapping[str, float] | None = None,
        phase_timeout: float = 120.0,
        folder: str | Path | None = None,
        trusted_apps: bool = False,
        ceremony: Admission | str | Path | None = None,
        rng: Rng | None = None,
    ) -> None:
        rng = SystemRng() if rng is None else rng
        _check_strategy(inner)
        plan.check()
        _check_sampling(inner, plan)
        self.inner = inner
        self._evaluation = _evaluation(evaluate)
        self._terms = Terms.of(
            plan,
            directory=directory,
            ledger=ledger,
            operator_key=operator_key,
            folder=folder,
            phase_timeout=phase_timeout,
            runs_any_app=not trusted_apps,
            weighted_by=str(getattr(inner, "weighted_by_key", "num-examples")),
            rng=rng,
            ceremony=ceremony,
        )
        self._metrics = dict(metrics or {})
        self._check_metrics()
        self._check_nodes()

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
        **options: Any,
    ) -> Result:
        """The inner strategy's `start`, over a Grid of private rounds."""
        self._summary()
        run, summed = PrivateRun.start(self._terms), None
        try:
            if self._evaluation is Evaluation.SUMMED:
                summed = SummedEvaluation.start(run, self._metrics)
            return self.inner.start(
                grid=PrivateGrid(grid, run, self._evaluation, summed),
                initial_arrays=initial_arrays,
                num_rounds=num_rounds,
                timeout=timeout,
                train_config=train_config,
                evaluate_config=evaluate_config,
                evaluate_fn=_while_running(evaluate_fn, run),
                **options,
            )
        finally:
            run.finish()
            if summed is not None:
                summed.run.finish()

    def summary(self) -> None:
        """Log what protects the rounds, and the inner strategy's own summary."""
        self._summary()
        self.inner.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The inner strategy's messages; only a Grid of private rounds may send them."""
        _check_private(grid)
        return self.inner.configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """As the inner strategy does."""
        return self.inner.aggregate_train(server_round, replies)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The inner strategy's messages; only a Grid of private rounds may send them."""
        _check_private(grid)
        return self.inner.configure_evaluate(server_round, arrays, config, grid)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """As the inner strategy does."""
        return self.inner.aggregate_evaluate(server_round, replies)

    def _check_metrics(self) -> None:
        if self._evaluation is Evaluation.SUMMED:
            fraction = float(getattr(self.inner, "fraction_evaluate", 1.0))
            SummedEvaluation.check(self._terms, self._metrics, fraction)
        elif self._metrics:
            raise ConfigurationError(
                f"metrics with evaluate = {self._evaluation.value!r} are not summed: leave them "
                'out, or choose "summed"'
            )

    def _check_nodes(self) -> None:
        """Warn of a strategy that begins a round before as many nodes are there as a sum needs."""
        summed = self._evaluation is Evaluation.SUMMED
        names = ["min_train_nodes", "min_available_nodes", *["min_evaluate_nodes"] * summed]
        fewest = self._terms.plan.aggregation.min_clients
        low = [
            n for n in names if isinstance(v := getattr(self.inner, n, None), int) and v < fewest
        ]
        if low:
            _LOG.warning(
                "%s of %s: set to at least %d, plan.aggregation.min_clients, or a round may begin "
                "before enough nodes are connected",
                " and ".join(low),
                type(self.inner).__name__,
                fewest,
            )

    def _summary(self) -> None:
        plan = self._terms.plan
        _LOG.info("Private rounds for %s:", type(self.inner).__name__)
        against = defends_against(plan.aggregation, runs_any_app=self._terms.runs_any_app)
        _LOG.info("\t├── Sum: %s, %s", plan.aggregation.protocol, against)
        _LOG.info("\t├── Clip: %s, for one %s", plan.update.clip, plan.dataset.unit)
        _LOG.info("\t├── Noise: %s", plan.noise.trust.value)
        charged = self._evaluation is Evaluation.SUMMED and plan.noise.trust is not Trust.NONE
        _LOG.info(
            "\t└── Evaluation at the clients: %s%s",
            self._evaluation.value,
            ", charged to the budget of the training, which ends sooner" if charged else "",
        )


def _while_running(
    evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None, run: PrivateRun
) -> Callable[[int, ArrayRecord], MetricRecord | None] | None:
    """The same while rounds take place: afterwards the model is the one that was evaluated last."""
    if evaluate_fn is None:
        return None
    evaluate = evaluate_fn

    def evaluated(number: int, arrays: ArrayRecord) -> MetricRecord | None:
        return None if run.ended else evaluate(number, arrays)

    return evaluated


def refusal_of(name: str) -> str:
    """Why a strategy of Flower's of this name is refused, and what to do; empty where it is not."""
    for kind, why, instead in _REFUSED:
        if name in (kind.__name__, *(sub.__name__ for sub in kind.__subclasses__())):
            return f"{name} {why}: {instead}"
    return ""


def _check_strategy(inner: Strategy) -> None:
    if isinstance(inner, PrivateStrategy):
        raise ConfigurationError("PrivateStrategy around another one: wrap the inner strategy once")
    for kind, why, instead in _REFUSED:
        if isinstance(inner, kind):
            raise ConfigurationError(f"{type(inner).__name__} {why}: {instead}")


def _check_sampling(inner: Strategy, plan: Plan) -> None:
    fraction = getattr(inner, "fraction_train", 1.0)
    if plan.sampling.scheme != "all" and fraction != 1.0:
        raise ConfigurationError(
            f"fraction_train = {fraction} where the plan draws each client with rate "
            f"{plan.sampling.rate}: leave the drawing to the plan, set fraction_train = 1.0"
        )


def _evaluation(word: str) -> Evaluation:
    try:
        return Evaluation(word)
    except ValueError:
        known = ", ".join(kind.value for kind in Evaluation)
        raise ConfigurationError(f"evaluate = {word!r} is unknown: choose from {known}") from None


def _check_private(grid: Grid) -> None:
    if not isinstance(grid, PrivateGrid):
        raise ConfigurationError(
            "a loop of your own has no private rounds: call `start` of PrivateStrategy, or write "
            "the loop as `start` of the inner strategy, which is given their Grid"
        )
