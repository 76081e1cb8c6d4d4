"""The audit as a trial: what one canary run shows of epsilon, beside what the accountant says."""

from __future__ import annotations

import math

from fedprivacy.attacks.auditing.auditor import Auditor
from fedprivacy.attacks.auditing.canaries import CanaryRun
from fedprivacy.attacks.auditing.verdict import ERROR
from fedprivacy.attacks.result import Measured
from fedprivacy.attacks.stage import Stage, Stopped
from fedprivacy.attacks.view import CanaryScores
from fedprivacy.rounds.rules import Trust

__all__ = ["audit"]


def audit(stage: Stage) -> Measured | Stopped:
    """A round with canaries and silent clients; the control has the coins of another run.

    Bounds fail with a chance of 1e-3 each. The f-DP bound takes the noise for a Gaussian's.
    """
    plan, delta = stage.plan, stage.options["delta"]
    run = CanaryRun(plan, stage.clients, stage.whole("canaries"), silent=stage.whole("silent"))
    scores, guesses = run.scores(rng=stage.rng), stage.whole("guesses")
    others = stage.draw("other coins").coins(run.canaries)
    shown = Auditor(scores, delta, error=ERROR)
    control = Auditor(CanaryScores(scores.scores, others), delta, error=ERROR)
    noisy = plan.noise.trust is not Trust.NONE
    fdp = shown.fdp(guesses)
    return stage.measured(
        shown.one_run(guesses),
        control.one_run(guesses),
        bound=run.epsilon(delta) if noisy else None,
        details={"fdp": fdp} if math.isfinite(fdp) else {},
    )
