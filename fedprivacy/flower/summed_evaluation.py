"""Evaluation at the clients as private rounds: of the metrics, the strategy sees one mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flwr.app import Message, MetricRecord, RecordDict
from flwr.serverapp import Grid

from fedprivacy.errors import ConfigurationError
from fedprivacy.flower.metrics import MetricBounds
from fedprivacy.flower.records import METRICS
from fedprivacy.flower.run import PrivateRun
from fedprivacy.flower.terms import Terms
from fedprivacy.rounds.rules import Trust

__all__ = ["SummedEvaluation"]


@dataclass(frozen=True, slots=True)
class SummedEvaluation:
    """The evaluations of one run: a run of private rounds beside that of the training.

    Each is a release of its own. Where the plan adds noise it has the noise of a training round and
    is charged like one, to the same budget in the ledger. With it the rounds are no longer all
    alike, and a ledger's bound for those that are not holds fewer of them.
    """

    run: PrivateRun
    bounds: MetricBounds

    @staticmethod
    def check(terms: Terms, metrics: Mapping[str, float], fraction: float) -> None:
        """Raise `ConfigurationError` for a plan by which metrics cannot be summed.

        `fraction` is the share of nodes that the strategy wants to evaluate.
        """
        plan = terms.plan
        MetricBounds.of(metrics)
        if terms.weighted_by in metrics:
            raise ConfigurationError(
                f"metrics has {terms.weighted_by}, the name of the weight, which comes beside "
                "them: leave it out"
            )
        if plan.protects_units:
            raise ConfigurationError(
                f'evaluate = "summed" with plan.dataset.unit = {plan.dataset.unit}: metrics are of '
                "a client, and no bound on one unit bounds them: evaluate on the server "
                "(evaluate_fn), or withhold"
            )
        if plan.adaptive.quantile:
            raise ConfigurationError(
                'evaluate = "summed" where the clip follows the updates (plan.adaptive): metrics '
                "would move it, keep the clip fixed, or withhold"
            )
        if plan.noise.trust is not Trust.NONE and terms.forgets:
            raise ConfigurationError(
                'evaluate = "summed" charges the budget of the training, which a ledger in memory '
                'keeps for one run alone: pass ledger="/absolute/path/of/budget.db"'
            )
        if plan.sampling.scheme != "all" and fraction != 1.0:
            raise ConfigurationError(
                f"fraction_evaluate = {fraction} where the plan draws each client with rate "
                f"{plan.sampling.rate}: leave the drawing to the plan, set fraction_evaluate = 1.0"
            )

    @classmethod
    def start(cls, training: PrivateRun, metrics: Mapping[str, float]) -> SummedEvaluation:
        """An evaluation without rounds; its record goes into a folder beside that of the training.

        Once the training has had a sum, no evaluation that fails costs its result.
        """
        terms = training.terms
        folder = terms.folder
        own = dataclasses.replace(
            terms,
            folder=None if folder is None else folder.with_name(f"{folder.name}-evaluation"),
            rng=terms.rng.child("evaluation"),
        )
        return cls(PrivateRun.start(own, beside=training), MetricBounds.of(metrics))

    def round(self, grid: Grid, messages: Sequence[Message], *, timeout: float) -> list[Message]:
        """What the strategy gets in the place of replies: one, or none where there is no sum."""
        for message in messages:
            content = message.content.copy()
            content[METRICS] = self.bounds.record
            message.content = content
        aggregate = self.run.sum(grid, messages, self.bounds.zeros, timeout=timeout)
        if aggregate is None:
            return []
        means = self.bounds.means(aggregate.mean, self.run.plan.update.clip)
        metrics = MetricRecord({**means, self.run.terms.weighted_by: aggregate.weight})
        return [Message(RecordDict({"metrics": metrics}), reply_to=messages[0])]
