"""Whole simulated runs: as good as unprotected ones, within the bound, recorded as they were."""

import json

import msgspec
import pytest
from scipy.stats import chi2

from fedprivacy.rounds import RoundRecord, RunRecord
from fedprivacy.rounds.policy import NoiseFloor
from fedprivacy.rounds.record import record_schema
from fedprivacy.rounds.rules import NoiseRules
from fedprivacy.secagg import PROTOCOLS
from fedprivacy.shipped import shipped_path
from fedprivacy.simulation.faults import Drop, Phase
from fedprivacy.simulation.hospitals import hospital_name
from fedprivacy.simulation.job import FaultSpec, Job
from fedprivacy.simulation.run import Simulation
from fedprivacy.vector import Weights

SEEDS = (1, 2, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in (3, 4, 5)))
POINTS = 0.02


class Watcher:
    """Keeps what it is told."""

    def __init__(self):
        self.started, self.phases, self.ended = [], [], []

    def round_started(self, number, of):
        self.started.append((number, of))

    def phase_ended(self, number, attempt, meter):
        self.phases.append((number, attempt, meter.phase))

    def round_ended(self, record):
        self.ended.append(record)


def example():
    return Job.from_toml(shipped_path("examples/hospitals/job.toml"))


def exact():
    """The example without noise, with the number of patients inside the sum."""
    job, replace = example(), msgspec.structs.replace
    update = replace(job.plan.update, weights=Weights.SUMMED, public_weight=0)
    plan = replace(job.plan, noise=NoiseRules(), update=update)
    # A hospital with a budget takes part in no sum without noise.
    require = replace(job.policy.require, noise=NoiseFloor())
    policy = replace(job.policy, require=require, budget={})
    return Job(changed(job, rounds=10), plan, policy)


def changed(job, **fields):
    return msgspec.structs.replace(job.file, **fields)


def short_job(rounds=2, drops=(), protocol=None):
    job = example()
    job = job.with_protocol(protocol) if protocol else job
    file = changed(job, rounds=rounds, faults=FaultSpec(drop=tuple(drops)))
    return Job(file, job.plan, job.policy)


def run(job, folder=None):
    simulation, watcher = Simulation(job, folder), Watcher()
    try:
        return simulation.run(watcher), watcher
    finally:
        simulation.close()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The example, run with its files."""
    folder = tmp_path_factory.mktemp("run") / "kept"
    record, watcher = run(example(), folder)
    return record, watcher, folder


@pytest.fixture(scope="module", params=SEEDS)
def seeded(request):
    """The example without noise, its patients dealt anew."""
    return run(exact().with_seed(request.param))[0]


def summed(record):
    return [r for r in record.rounds if r.outcome == "sum"]


def assert_within_the_bound(record):
    simulated = record.simulation_only
    for entry in summed(record):
        measured = entry.simulation_only
        # Rounding leaves a trace, and no larger one than was derived beforehand.
        assert 0 < measured.largest_difference <= measured.quantisation_bound
    last = record.rounds[-1].simulation_only
    assert (last.accuracy, last.accuracy_unprotected) == (
        simulated.accuracy,
        simulated.accuracy_unprotected,
    )
    differences = [r.simulation_only.largest_difference for r in summed(record)]
    bounds = [r.simulation_only.quantisation_bound for r in summed(record)]
    assert (simulated.largest_difference, simulated.quantisation_bound) == max(
        zip(differences, bounds, strict=True), key=lambda pair: pair[0] / pair[1]
    )


def test_masking_costs_no_accuracy(seeded):
    simulated = seeded.simulation_only
    assert abs(simulated.accuracy - simulated.accuracy_unprotected) <= POINTS
    assert simulated.accuracy > simulated.majority + 0.2
    assert_within_the_bound(seeded)
    assert [r.outcome for r in seeded.rounds] == ["sum"] * 10


@pytest.mark.parametrize("seed", SEEDS)
def test_with_noise_a_model_is_learnt_within_the_budget(seed):
    record, _ = run(example().with_seed(seed))
    simulated = record.simulation_only
    assert simulated.accuracy >= simulated.majority + 0.2
    assert [r.outcome for r in record.rounds] == ["sum"] * 10 + ["refused"]
    *_, last, refused = record.rounds
    assert refused.attempts == ()
    assert 0 < last.budget.epsilon == refused.budget.epsilon <= record.plan.noise.epsilon == 4
    assert record.plan.noise.delta == last.budget.delta == 1e-5
    assert record.guarantee.unit == last.budget.unit == "patient"
    # The ledger keeps a tenth of delta for runs whose rounds differ.
    assert record.guarantee.epsilon < last.budget.epsilon < 1.01 * record.guarantee.epsilon


def test_the_noise_in_the_sums_is_what_the_survivors_planned(kept):
    """Each of so many survivors adds a tenth of what counts: a chi-squared sum in each round."""
    record, _, _ = kept
    shares, length = 10, 31
    for entry in summed(record):
        noise = entry.simulation_only.noise
        survivors = len(entry.attempts[0].survivors)
        ratio = length * noise.deviation**2 / (noise.planned**2 * survivors / shares)
        # False alarms: 2e-6 in each of ten rounds.
        assert chi2.ppf(1e-6, length) < ratio < chi2.isf(1e-6, length)


def test_a_client_draws_its_own_line(tmp_path):
    """Its store, which remembers other runs, declines when its own budget is spent."""
    job, replace = example(), msgspec.structs.replace
    budget = {job.plan.dataset.id: replace(job.policy.budget[job.plan.dataset.id], epsilon=2.0)}
    # Beyond the plan's ten rounds they would decline for the plan's sake.
    file = changed(job, rounds=10, faults=FaultSpec())
    record, _ = run(Job(file, job.plan, replace(job.policy, budget=budget)), tmp_path / "run")
    outcomes = [r.outcome for r in record.rounds]
    afforded = outcomes.count("sum")
    assert outcomes == ["sum"] * afforded + ["aborted"] * (10 - afforded)
    assert 0 < record.rounds[afforded - 1].budget.epsilon <= 2.0
    for entry in record.rounds[afforded:]:
        assert entry.attempts[0].refused == dict.fromkeys(record.clients, "budget")
        # Nobody was asked to unmask: the server's budget is charged nothing.
        assert entry.budget.epsilon == record.rounds[afforded - 1].budget.epsilon


def test_the_example_loses_whom_its_job_says(kept):
    record, _, _ = kept
    assert_within_the_bound(record)
    for entry in summed(record):
        (attempt,) = entry.attempts
        drops = [d for d in example().file.faults.drop if d.round == entry.round]
        lost = {client for phase in attempt.phases for client in phase.lost}
        assert lost == {d.client for d in drops}
        gone = {d.client for d in drops if d.before in {Phase.KEYS, Phase.SHARES, Phase.INPUT}}
        assert set(attempt.survivors) == set(record.clients) - gone
        assert not attempt.refused
        assert not attempt.excluded
        assert attempt.unmasking_requested


def test_every_round_is_a_line_on_the_disk(kept):
    record, watcher, folder = kept
    lines = (folder / "rounds.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == len(record.rounds) == 11
    assert [msgspec.json.decode(line, type=RoundRecord) for line in lines] == list(record.rounds)
    assert watcher.ended == list(record.rounds)
    assert watcher.started == [(n, 11) for n in range(1, 12)]
    written = json.loads((folder / "record.json").read_text("utf-8"))
    assert [json.loads(line) for line in lines] == written["rounds"]


def test_a_record_comes_back_from_its_text(kept):
    record, _, folder = kept
    text = (folder / "record.json").read_text("utf-8")
    again = RunRecord.from_json(text)
    assert again == record
    assert again.to_json() == text == record.to_json()
    assert RunRecord.from_json(text.encode()) == record
    assert again.plan.digest().hex() == record.plan_hash
    assert set(json.loads(text)) <= set(record_schema()["$defs"]["RunRecord"]["properties"])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.pop("plan"),
        lambda d: d.update(surprise=1),
        lambda d: d.update(schema="fedprivacy/record/0"),
        lambda d: d["rounds"][0].update(outcome="perhaps"),
        lambda d: d["rounds"][0]["attempts"][0].update(survivors=3),
    ],
    ids=["missing", "unknown", "schema", "outcome", "type"],
)
def test_a_text_that_is_no_record_is_refused(kept, spoil):
    document = json.loads(kept[0].to_json())
    spoil(document)
    with pytest.raises(msgspec.ValidationError):
        RunRecord.from_json(json.dumps(document))


MASKING = (Phase.KEYS, Phase.SHARES, Phase.INPUT, Phase.CONSISTENCY, Phase.UNMASKING)


@pytest.mark.parametrize("phase", MASKING, ids=lambda phase: phase.value)
def test_a_round_with_too_many_lost_is_recorded_as_aborted(tmp_path, phase):
    """Nine of twenty are lost in the first of two rounds; the second is as if nothing had been."""
    drops = [Drop(round=1, client=hospital_name(i), before=phase) for i in range(1, 10)]
    record, watcher = run(short_job(2, drops), tmp_path / "run")
    bad, good = record.rounds
    assert (bad.outcome, bad.weight) == ("aborted", 0)
    assert (good.outcome, len(good.attempts[0].survivors)) == ("sum", 20)
    asked = phase is Phase.UNMASKING
    for attempt in bad.attempts:
        assert attempt.outcome == "aborted"
        assert attempt.reason == "too-few"
        assert attempt.survivors == ()
    first = bad.attempts[0]
    assert first.phases[-1].phase == phase.value
    assert set(first.phases[-1].lost) == {hospital_name(i) for i in range(1, 10)}
    assert first.unmasking_requested == asked
    # Asked to sign or to unmask once, never asked again; before that there is a second attempt.
    assert len(bad.attempts) == (1 if phase in {Phase.CONSISTENCY, Phase.UNMASKING} else 2)
    assert not any(attempt.refused for attempt in bad.attempts)
    assert bad.simulation_only.accuracy == bad.simulation_only.accuracy_unprotected
    lines = (tmp_path / "run" / "rounds.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["outcome"] for line in lines] == ["aborted", "sum"]
    assert RunRecord.from_json((tmp_path / "run" / "record.json").read_bytes()) == record
    assert watcher.ended == [bad, good]


def test_a_run_without_any_sum_still_has_a_record(tmp_path):
    drops = [
        Drop(round=n, client=hospital_name(i), before=Phase.INPUT)
        for n in (1, 2)
        for i in range(1, 15)
    ]
    record, _ = run(short_job(2, drops), tmp_path / "run")
    assert [r.outcome for r in record.rounds] == ["aborted", "aborted"]
    assert record.simulation_only.largest_difference == 0
    assert record.simulation_only.accuracy == record.simulation_only.accuracy_unprotected
    assert RunRecord.from_json(record.to_json()) == record


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_runs_the_example(protocol):
    record, _ = run(short_job(2, protocol=protocol))
    assert record.guarantee.protocol == protocol
    for entry in record.rounds:
        assert entry.outcome == "sum"
        measured = entry.simulation_only
        assert 0 < measured.largest_difference <= measured.quantisation_bound


def test_two_runs_of_one_seed_deal_alike_and_mask_anew():
    one, two = (run(short_job(1))[0] for _ in range(2))
    assert one.run_id != two.run_id
    assert one.rounds[0].weight == two.rounds[0].weight
    assert one.simulation_only.held_out == two.simulation_only.held_out
    a, b = (r.rounds[0].simulation_only.largest_difference for r in (one, two))
    assert a != b  # the rounding is fresh


def test_the_example_of_a_named_committee_runs():
    """Rounds in which a member of it is lost at each phase; nobody but hospitals is a client."""
    job = Job.from_toml(shipped_path("examples/hospitals/oneshot-job.toml"))
    drops = [Drop(round=1, client="registry", before=Phase.UNMASKING)]
    file = msgspec.structs.replace(job.file, rounds=1, faults=FaultSpec(drop=tuple(drops)))
    record, _ = run(Job(file, job.plan, job.policy))
    (entry,) = record.rounds
    assert entry.outcome == "sum"
    assert len(entry.attempts[0].survivors) == len(record.clients) == 20
    assert record.guarantee.committee.threshold == 3
    assert not record.guarantee.committee.drawn
    lost = {phase.phase: phase.lost for phase in entry.attempts[0].phases}
    assert lost["unmasking"] == ("registry",)
    assert all(phase.committee_bytes_up for phase in entry.attempts[0].phases)
