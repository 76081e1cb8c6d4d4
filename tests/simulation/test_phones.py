"""A crowd of phones: drawn by real coins, charged as the accountant says, better than guessing."""

import io
import sys
from collections import Counter

import msgspec
import numpy as np
import pytest
from rich.console import Console
from scipy.stats import binom, chi2

from fedprivacy.accounting import epsilon_of
from fedprivacy.dp.events import Release
from fedprivacy.errors import ConfigurationError, MissingExtra
from fedprivacy.ledger import BudgetTerms, ClientBudget, LedgerAccountant
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.reporting.rounds import round_line
from fedprivacy.reporting.run_report import run_report
from fedprivacy.rounds import Guarantee
from fedprivacy.rounds.privacy import release_of, round_event
from fedprivacy.rounds.rules import Mechanism, SamplingRules
from fedprivacy.rounds.sampling import cohort_fault, drawn, weakest_cohort
from fedprivacy.secagg import SERVER
from fedprivacy.shipped import shipped_path
from fedprivacy.simulation.dealing import FeatureScale
from fedprivacy.simulation.faults import Drop, Phase
from fedprivacy.simulation.job import Job, Stores
from fedprivacy.simulation.run import Simulation
from fedprivacy.simulation.training import Training
from fedprivacy.wire import Transcript

JOB = shipped_path("examples/phones/job.toml")
PHONES, RATE, LENGTH = 1200, 0.1, 65
FALSE_ALARM = 1e-6  # of each statistical test, had its seed not been fixed
POINTS = 0.2  # more than the commoner class, on images that no phone has

replace = msgspec.structs.replace


def example(**fields):
    job = Job.from_toml(JOB)
    return Job(replace(job.file, **fields), job.plan, job.policy)


def deal(seed=1, phones=PHONES):
    return Job.from_toml(JOB).file.data.deal(phones, rng=InsecureTestRng(seed))


class Watcher:
    """Keeps how many messages there had been when each round ended."""

    def __init__(self, transcript):
        self.transcript, self.ends = transcript, [0]

    def round_started(self, number, of): ...

    def phase_ended(self, number, attempt, meter): ...

    def round_ended(self, record):
        self.ends.append(len(self.transcript))


class Run:
    """A run with all that was said in it, still open."""

    def __init__(self, job, seed):
        self.transcript = Transcript()
        self.simulation = Simulation(job, rng=InsecureTestRng(seed), transcript=self.transcript)
        watcher = Watcher(self.transcript)
        self.record = self.simulation.run(watcher)
        self.ends = watcher.ends

    def spoken_to(self, number):
        """Everyone but the server who sent or got a message in a round."""
        entries = self.transcript.entries[self.ends[number - 1] : self.ends[number]]
        return {name for e in entries for name in (e.sender, e.recipient)} - {SERVER}

    def coins(self, number):
        """Whom the round's coins chose, tossed again."""
        plan, names = self.record.plan, self.record.clients
        rng = self.simulation.rng.child(f"sample/{number}")
        return set(drawn(names, plan.sampling, rng=rng))


@pytest.fixture(scope="module")
def short():
    made = Run(example(rounds=2), seed=1)
    yield made
    made.simulation.close()


@pytest.fixture(scope="module")
def starved():
    """Samples of 36 on average, where 36 are needed: about half of them are too small."""
    job = example(rounds=8)
    plan = replace(
        job.plan,
        sampling=SamplingRules(scheme="poisson", rate=0.03),
        aggregation=replace(job.plan.aggregation, min_clients=32),
    )
    floors = replace(job.policy.require.aggregation, min_clients=32)
    policy = replace(job.policy, require=replace(job.policy.require, aggregation=floors))
    made = Run(Job(job.file, plan, policy), seed=2)
    yield made
    made.simulation.close()


# ------------------------------------------------------------------ the data


def test_every_image_is_dealt_exactly_once():
    dealt = deal()
    sizes = Counter(len(images) for images in dealt.clients.values())
    assert sizes == {1: 1053, 2: 147}
    assert next(iter(dealt.clients)) == "phone-0001"
    assert list(dealt.clients)[-1] == "phone-1200"
    assert len(dealt.held_out) == 450
    rows = np.vstack([dealt.held_out.features, *(p.features for p in dealt.clients.values())])
    assert rows.shape == (1797, 64)
    assert len(np.unique(rows, axis=0)) == 1797  # no two images of the data set are the same
    assert (rows.min(), rows.max()) == (-0.5, 1.5)


def test_phones_differ_and_the_held_out_are_like_the_whole():
    dealt = deal()
    twice = [p.labels for p in dealt.clients.values() if len(p) == 2]
    alike = np.mean([a == b for a, b in twice])
    # Dealt at random, half would be; the deviation is then 0.04.
    assert alike > 0.75
    assert dealt.held_out.majority == pytest.approx(0.5, abs=0.01)


def test_one_seed_deals_the_same_hands():
    one, same, other = deal(1), deal(1), deal(2)
    for name, images in one.clients.items():
        assert np.array_equal(images.features, same.clients[name].features)
        assert np.array_equal(images.labels, same.clients[name].labels)
    assert np.array_equal(one.held_out.features, same.held_out.features)
    assert not np.array_equal(one.held_out.features, other.held_out.features)


@pytest.mark.parametrize("phones", [673, 1348])
def test_a_number_of_phones_that_does_not_fit_is_refused(phones):
    with pytest.raises(ConfigurationError, match=f"clients = {phones}: 1347 images make 674 to 13"):
        deal(phones=phones)


def test_data_that_does_not_fit_is_refused(monkeypatch):
    data, rng = Job.from_toml(JOB).file.data, InsecureTestRng(1)
    with pytest.raises(ConfigurationError, match=r"data\.held_out = 1\.5"):
        replace(data, held_out=1.5).deal(PHONES, rng=rng)
    with pytest.raises(ConfigurationError, match="must name one feature, pixel"):
        replace(data, features=()).deal(PHONES, rng=rng)
    with pytest.raises(ConfigurationError, match="pixel has centre"):
        replace(data, features=(FeatureScale("pixel", 0.0, 0.0),)).deal(PHONES, rng=rng)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtra, match="the phones' data"):
        data.deal(PHONES, rng=rng)


@pytest.fixture
def written(tmp_path):
    """Writes the example's files with one text changed, and reads the job."""

    def write(name, old, new):
        for file in ("job.toml", "privacy.toml", "client.toml"):
            text = JOB.with_name(file).read_text("utf-8")
            changed = text.replace(old, new, 1) if file == name else text
            assert (changed != text) == (file == name)
            (tmp_path / file).write_text(changed, "utf-8")
        return Job.from_toml(tmp_path / "job.toml")

    return write


def test_faults_name_phones(written):
    drop = '[faults]\ndrop = [{ round = 1, client = "%s", before = "input" }]\n\n[data]'
    (known,) = written("job.toml", "[data]", drop % "phone-0007").file.faults.drop
    assert known == Drop(round=1, client="phone-0007", before=Phase.INPUT)
    with pytest.raises(ConfigurationError, match="choose phone-0001 to phone-1200"):
        written("job.toml", "[data]", drop % "hospital-07")


def test_an_open_protocol_is_settled_for_the_smallest_sample(written):
    job = written("privacy.toml", '"secagg+"', '"auto"')
    assert job.plan == Job.from_toml(JOB).plan
    assert "takes secagg+ for 56 clients" in job.why


def test_a_phone_has_a_file_only_once_it_is_drawn(tmp_path):
    job = example(rounds=1, stores=Stores.FILES)
    plan = replace(job.plan, sampling=SamplingRules(scheme="poisson", rate=0.06))
    rng = InsecureTestRng(4)
    simulation = Simulation(Job(job.file, plan, job.policy), tmp_path / "run", rng=rng)
    try:
        record = simulation.run(Watcher(Transcript()))
    finally:
        simulation.close()
    (attempt,) = record.rounds[0].attempts
    found = {path.stem for path in (tmp_path / "run" / "clients").glob("*.db")}
    assert found == set(attempt.survivors)
    assert 0 < len(found) < PHONES


# ------------------------------------------------------------------ the sample


def test_samples_are_poisson():
    """As large as a binomial, as often each client: neither a fixed size nor a fixed order."""
    rounds, names = 500, [f"phone-{i:04d}" for i in range(1, PHONES + 1)]
    rules, rng = SamplingRules(scheme="poisson", rate=RATE), InsecureTestRng(3)
    samples = [drawn(names, rules, rng=rng.child(f"sample/{n}")) for n in range(rounds)]
    variance = RATE * (1 - RATE)
    sizes = np.array([len(sample) for sample in samples])
    spread = np.sum((sizes - PHONES * RATE) ** 2) / (PHONES * variance)
    assert chi2.ppf(FALSE_ALARM / 2, rounds) < spread < chi2.isf(FALSE_ALARM / 2, rounds)
    edges = binom.ppf(np.arange(1, 10) / 10, PHONES, RATE)
    expected = rounds * np.diff([0.0, *binom.cdf(edges, PHONES, RATE), 1.0])
    found = np.bincount(np.searchsorted(edges, sizes), minlength=10)
    assert np.sum((found - expected) ** 2 / expected) < chi2.isf(FALSE_ALARM, 9)
    times = Counter(name for sample in samples for name in sample)
    each = np.array([times[name] for name in names])
    fair = np.sum((each - rounds * RATE) ** 2) / (rounds * variance)
    assert chi2.ppf(FALSE_ALARM / 2, PHONES) < fair < chi2.isf(FALSE_ALARM / 2, PHONES)


def test_only_those_whose_coins_say_so_are_spoken_to(short):
    for entry in short.record.rounds:
        asked = short.coins(entry.round)
        low, high = binom.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], PHONES, RATE)
        assert low <= len(asked) <= high
        assert short.spoken_to(entry.round) == asked
        assert set(entry.attempts[0].survivors) == asked
    assert short.coins(1) != short.coins(2)


def test_a_phone_is_charged_in_full_for_the_rounds_it_was_in_and_no_other(short):
    plan, members = short.record.plan, short.simulation._members
    times = Counter(name for n in (1, 2) for name in short.coins(n))
    assert set(members._stores) == set(times)
    assert set(times.values()) == {1, 2}
    limit = short.simulation.job.policy.budget["digits"]
    terms = BudgetTerms(plan.dataset.adjacency.value, limit.epsilon, limit.delta)
    budget, event = ClientBudget("digits", "digits", "client", terms), round_event(plan, 99, LENGTH)
    for rounds in (1, 2):
        name = next(name for name, count in times.items() if count == rounds)
        charged = members.store(name).charged(budget, LedgerAccountant())
        part = 0.9 * limit.delta
        full = epsilon_of([Release(event, count=rounds)], part, plan.dataset.adjacency)
        assert charged == full.epsilon > short.record.rounds[-1].budget.epsilon


# ------------------------------------------------------------------ what it costs


@pytest.mark.parametrize("mechanism", Mechanism, ids=lambda m: m.value)
def test_what_a_sum_tells_hangs_on_no_cohorts_size(mechanism):
    """The noise is the server's: rounds of all sizes are equal ones to the ledger."""
    plan = Job.from_toml(JOB).plan
    plan = replace(plan, noise=replace(plan.noise, mechanism=mechanism))
    assert len({round_event(plan, size, LENGTH) for size in (56, 57, 120, 301, PHONES)}) == 1


def cost(plan, sums, part=1.0):
    release = release_of(plan, round_event(plan, 120, LENGTH), sums)
    return epsilon_of([release], part * plan.noise.delta, plan.dataset.adjacency).epsilon


def charged(plan, sums):
    """The ledger keeps a tenth of delta for runs whose rounds differ."""
    return cost(plan, sums, 0.9)


def test_epsilon_is_the_accountants_for_so_many_sums(short):
    plan = short.record.plan
    for entry in short.record.rounds:
        assert entry.outcome == "sum"
        assert entry.budget.epsilon == charged(plan, entry.round)
        assert entry.weight == 120
        measured = entry.simulation_only
        assert 0 < measured.largest_difference <= measured.quantisation_bound


def test_the_servers_noise_is_what_is_charged(short):
    for entry in short.record.rounds:
        noise = entry.simulation_only.noise
        ratio = LENGTH * (noise.deviation / noise.planned) ** 2
        assert chi2.ppf(FALSE_ALARM / 2, LENGTH) < ratio < chi2.isf(FALSE_ALARM / 2, LENGTH)


def test_the_budget_holds_the_plans_rounds_and_not_one_more():
    job = Job.from_toml(JOB)
    noise = job.plan.noise
    assert charged(job.plan, noise.rounds) <= noise.epsilon < charged(job.plan, noise.rounds + 1)
    assert job.file.rounds == noise.rounds + 1
    assert noise.delta < 0.1 / PHONES


def test_a_phones_own_budget_is_enough_for_all_but_the_unluckiest():
    """Who declined for having been drawn before would make the sample another than is counted."""
    job = Job.from_toml(JOB)
    limit, event = job.policy.budget["digits"], round_event(job.plan, 120, LENGTH)

    def full(rounds):
        release = Release(event, count=rounds)
        return epsilon_of([release], 0.9 * limit.delta, job.plan.dataset.adjacency).epsilon

    assert full(9) <= limit.epsilon < full(10)
    assert PHONES * binom.sf(9, job.plan.noise.rounds, RATE) < 0.002


def test_the_guarantee_is_what_every_cohort_keeps(short):
    plan = short.record.plan
    weakest = weakest_cohort(plan, PHONES)
    assert cohort_fault(plan, weakest) is None
    assert cohort_fault(plan, weakest - 1) is not None
    # Smaller samples, which end a round, are as good as never drawn.
    assert binom.cdf(weakest - 1, PHONES, RATE) < 1e-10
    guarantee = short.record.guarantee
    assert guarantee.cohort == weakest
    for size in range(weakest, 200):
        assert Guarantee.of(plan, size, LENGTH).honest_in_sum >= guarantee.honest_in_sum
    assert guarantee.epsilon == cost(plan, plan.noise.rounds)
    assert any("do not see who takes part" in line for line in guarantee.does_not_hold)


# ------------------------------------------------------------------ samples that are too small


def test_too_small_a_sample_ends_its_round_unasked_and_uncharged(starved):
    record, plan = starved.record, starved.record.plan
    needed, sums, seen = weakest_cohort(plan, PHONES), 0, set()
    assert needed == 36
    for entry in record.rounds:
        asked = starved.coins(entry.round)
        enough = len(asked) >= needed
        sums += enough
        seen.add(enough)
        (attempt,) = entry.attempts
        assert entry.outcome == attempt.outcome == ("sum" if enough else "aborted")
        assert attempt.reason == ("" if enough else "too-few")
        assert starved.spoken_to(entry.round) == (asked if enough else set())
        assert entry.budget.epsilon == (charged(plan, sums) if sums else 0)
    assert seen == {True, False}
    reserved = {r.request.round for r in starved.simulation._books.ledger.reservations()}
    assert reserved == {r.round for r in record.rounds if r.outcome == "sum"}


def test_a_rate_that_draws_too_few_is_refused_before_the_run():
    job = example()
    plan = replace(job.plan, sampling=SamplingRules(scheme="poisson", rate=0.02))
    with pytest.raises(ConfigurationError, match=r"rate = 0\.02 draws 24 of 1200 .* needs 56"):
        Simulation(Job(job.file, plan, job.policy))
    rules = replace(job.plan.aggregation, corrupt=1199)
    with pytest.raises(ConfigurationError, match="with all 1200 clients"):
        Simulation(Job(job.file, replace(job.plan, aggregation=rules), job.policy))


# ------------------------------------------------------------------ what is learnt, what is shown


@pytest.mark.parametrize("seed", range(1, 4))
def test_a_full_length_of_noisy_sums_beats_the_commoner_class(seed):
    """All that the example does but for masks and messages, which change no sum."""
    job = Job.from_toml(JOB).with_seed(seed)
    training = Training.start(job, rng=InsecureTestRng(seed))
    plan, rng = job.plan, InsecureTestRng(100 + seed)
    pipeline = plan.pipeline(LENGTH, 120)
    for number in range(plan.noise.rounds):
        fresh = rng.child(str(number))
        sample = drawn(tuple(training.population.clients), plan.sampling, rng=fresh)
        total = sum(
            np.asarray(
                pipeline.encode(training.update_of(name, training.broadcast), rng=fresh.child(name))
            )
            for name in sample
        )
        stage, spec = plan.noise_stage(120), pipeline.specs[-1]
        added = stage.added(spec, rng=fresh.child("noise"))
        noise = stage.added(spec, rng=fresh.child("noise"))(np.zeros(LENGTH, dtype=np.int64))
        aggregate = pipeline.decode(total, clients=len(sample), added=added)
        aggregate = type(aggregate)(aggregate.sum, plan.update.public_weight)
        difference = training.step(aggregate, sample, noise / spec.scale, plan.update.clip)
        assert 0 < difference <= pipeline.quantisation_bound(len(sample))
    protected, unprotected = training.accuracies()
    assert protected >= training.population.held_out.majority + POINTS
    assert unprotected >= 0.85


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1, 4))
def test_the_whole_example_beats_the_commoner_class_within_its_budget(seed):
    made = Run(Job.from_toml(JOB).with_seed(seed), seed=seed)
    made.simulation.close()
    simulated = made.record.simulation_only
    assert simulated.accuracy >= simulated.majority + POINTS
    assert [r.outcome for r in made.record.rounds] == ["sum"] * 17 + ["refused"]
    assert made.record.rounds[-1].attempts == ()
    assert made.record.rounds[-1].budget.epsilon == charged(made.record.plan, 17) <= 4.0


def printed(record):
    out = io.StringIO()
    console = Console(file=out, width=80)
    for part in run_report(record):
        console.print(part)
    return out.getvalue()


@pytest.mark.parametrize("which", ["short", "starved"])
def test_the_report_reads_well_in_80_columns(request, which):
    record = request.getfixturevalue(which).record
    text = printed(record)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    flat = " ".join(text.split())
    rate, least = record.plan.sampling.rate, record.guarantee.cohort
    assert f"among 1,200 clients, each drawn at a rate of {rate:g};" in flat
    assert "Accuracy on 450 examples that no client trained on" in flat
    assert "This counts on it that who takes part stays hidden." in flat
    assert "holds for those only who do not see who takes part" in flat
    assert f"Of a cohort of {least} clients, which promises the least" in flat
    for entry in record.rounds:
        if entry.outcome == "aborted":
            assert f"{entry.round} aborted (too-few) - - " in flat
            assert round_line(entry, 8) == f"round {entry.round} of 8: aborted (too-few)"
