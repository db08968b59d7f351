"""Verdicts: every state, every bar, every finding when it should be there and not otherwise."""

import math
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest

from gradscope import JacobianChain, analyze, create
from gradscope.analysis._gate_values import GateStatistics
from gradscope.analysis.reach import Reach
from gradscope.networks.cell import cell_class
from gradscope.numerics.nonfinite import NonFinite
from gradscope.report import verdict
from gradscope.report.case import Case, Request
from gradscope.report.model import times
from gradscope.report.sections.paths import OPPOSED
from gradscope.report.verdict import DECADES, SHORTEST_STEPS
from gradscope.settings import Settings

LN10 = math.log(10)


@dataclass(frozen=True)
class Evidence:
    """What a verdict is made from, in the units of its sentences."""

    steps: int
    log10_gain: float | None
    rate: float | None
    interval: tuple | None
    half_life: float | None
    reach: int | None
    knee: int = 0
    attenuation: float = 0.0  # decades
    zero_from: int | None = None
    peak: tuple | None = None
    underflow: dict = field(default_factory=lambda: dict.fromkeys(("float32", "bfloat16", "float16")))
    nonfinite: tuple = ()
    gates: dict = field(default_factory=dict)
    around_share: float | None = None
    cancellation: float | None = None
    step_radius: float | None = None
    everywhere: bool = False
    keep_gates: dict = field(default_factory=lambda: {"z": "update"})
    forget_gates: dict = field(default_factory=dict)
    path_kinds: tuple | None = None
    hidden: int = 8
    cell: str = "gru"
    source: str = "init"
    settings: dict = field(default_factory=dict)
    given: dict = field(default_factory=dict)  # of the command line

    def case(self):
        """Answers of analyses that say the same."""
        gain = math.nan if self.log10_gain is None else self.log10_gain * LN10
        far = Reach(
            steps=self.steps,
            threshold=1e-3,
            reach=self.reach,
            log_gain=np.array([gain]),
            rate=self.rate,
            interval=self.interval,
            knee=self.knee,
            attenuation=self.attenuation * LN10,
            tail_rate=self.rate,
            tail_interval=self.interval,
            half_life=self.half_life,
            underflow=self.underflow,
            orbits=1,
            zero_from=self.zero_from,
            peak=self.peak and (self.peak[0], self.peak[1] * LN10),
        )
        answers = {
            "finite": self.nonfinite,
            "gradients": SimpleNamespace(last=True if self.everywhere else None, loss_ends=None),
            "reach": far,
            "gates": {
                g: GateStatistics(0, low, high, None, None, never) for g, (low, high, never) in self.gates.items()
            },
            "paths": SimpleNamespace(mean=math.nan if self.around_share is None else self.around_share),
        }
        if self.cancellation is not None:
            answers["crossings"] = SimpleNamespace(cancellation=self.cancellation)
        if self.step_radius is not None:
            answers["steps"] = SimpleNamespace(radius=np.array([self.step_radius]))
        file = {"path": "m.pt"} if self.source == "checkpoint" else {}
        model = {"source": self.source, "cell": self.cell, "hidden_size": self.hidden, "input_size": 32, **file}
        model["settings"] = {}
        config = {"steps": 200, "batch": 8, "warmup": 50, "seed": 0, "input_scale": 1.0, "dtype": "float64"}
        config |= {"init": "pytorch", "remedies": True, **self.settings}
        named, cell = ("m.pt", None) if file else (self.cell, self.cell)
        given = Settings(cell=cell, hidden=self.hidden, init=self.settings.get("init"), **self.given)
        request = None if self.source == "python" else Request(named, given)
        gates = self.keep_gates, self.forget_gates
        return Case(answers, "GRU, 8 units", model, config, *gates, self.path_kinds, request=request)


def judge(e):
    return verdict.judge(e.case())


def evidence(decades=0.0, spread=0.1, steps=200, **changes):
    """A run whose gradient changes by so many decades, with a 95 % interval of +- spread decades."""
    rate = decades * LN10 / steps
    base = Evidence(
        steps=steps,
        log10_gain=decades,
        rate=rate,
        interval=(rate - spread * LN10 / steps, rate + spread * LN10 / steps),
        half_life=-math.log(2) / rate if rate < 0 else None,
        reach=min(steps, int(steps * -3 / decades)) if decades < 0 else steps,
    )
    return replace(base, **changes)


def codes(e):
    return [f.code for f in judge(e).findings]


@pytest.mark.parametrize(
    ("decades", "spread", "state"),
    [
        (-40, 1, "vanishing"),
        (-3.2, 0.1, "vanishing"),
        (-3.05, 0.1, "inconclusive"),
        (-2.95, 0.1, "inconclusive"),
        (-2.8, 0.1, "stable"),
        (0, 0.1, "stable"),
        (2.8, 0.1, "stable"),
        (2.95, 0.1, "inconclusive"),
        (3.05, 0.1, "inconclusive"),
        (3.2, 0.1, "exploding"),
        (25, 1, "exploding"),
        (0, 10, "inconclusive"),
        (-40, 38, "inconclusive"),
    ],
)
def test_bar_of_three_decades(decades, spread, state):
    outcome = judge(evidence(decades, spread))
    assert outcome.state == state
    assert outcome.sentence.startswith(f"{state.upper()}: ")
    assert outcome.sentence.endswith(" (GRU, 8 units)")
    assert "\n" not in outcome.sentence
    assert DECADES == 3


@pytest.mark.parametrize("steps", [10, 50, 100, 1000])
def test_the_bar_is_the_same_for_runs_of_any_length(steps):
    for decades, state in ((DECADES + 0.05, "exploding"), (DECADES - 0.05, "stable")):
        assert judge(evidence(decades, 0.01, steps)).state == state
        assert judge(evidence(-decades, 0.01, steps)).state == ("vanishing" if state == "exploding" else "stable")


def test_too_short():
    outcome = judge(evidence(-9, steps=1))
    assert outcome.state == "inconclusive"
    assert outcome.sentence == "INCONCLUSIVE: 1 step is too few to fit a rate (GRU, 8 units)"
    assert "9 steps are too few" in judge(evidence(-9, steps=SHORTEST_STEPS - 1)).sentence
    assert judge(evidence(-9, steps=SHORTEST_STEPS)).state == "vanishing"


def test_without_an_error_bar():
    outcome = judge(evidence(-9, interval=None))
    assert outcome.state == "inconclusive"
    assert "no error bar" in outcome.sentence
    assert "1.0e-9" in outcome.sentence


def test_sentences():
    e = evidence(-40, 1)
    assert judge(e).sentence == (
        "VANISHING: the gradient halves every 1.5 steps and is below 1e-3 after 15 (GRU, 8 units)"
    )
    # when the reach is the whole run there is no such lag
    assert "below" not in judge(replace(e, reach=200)).sentence
    assert judge(evidence(25)).sentence == (
        "EXPLODING: the gradient doubles every 2.4 steps and grows 1.0e25-fold over 200 steps (GRU, 8 units)"
    )
    assert judge(evidence(-0.5)).sentence == "STABLE: 32 % of the gradient norm is left after 200 steps (GRU, 8 units)"
    text = judge(evidence(-3, 1)).sentence
    assert "1.0e-4 to 0.01 (95 % interval), which includes the threshold 1.0e-3" in text


@pytest.mark.parametrize(
    ("log10", "text"),
    [
        (0, "1"),
        (1.5, "32"),
        (2.5, "316"),
        (1.9999, "100"),
        (-0.5, "0.32"),
        (-2.9, "0.0013"),
        (-8, "1.0e-8"),
        (25.3, "2.0e25"),
        (-50.1, "7.9e-51"),
    ],
)
def test_factors(log10, text):
    assert times(log10) == text
    assert math.log10(float(text)) == pytest.approx(log10, abs=0.03)  # two digits


@pytest.mark.parametrize("whole", [-320, -120, -40, -4, 3, 40, 120, 280])
def test_factors_round_into_one_digit(whole):
    """9.96 is written 1.0 of the next decade, never 10.0."""
    for part in (0.9999999, 0.0, 0.96):
        text = times(whole + part)
        mantissa = text.split("e")[0]
        assert float(mantissa) < 10
        exponent = int(text.split("e")[1]) if "e" in text else 0
        assert math.log10(float(mantissa)) + exponent == pytest.approx(whole + part, abs=0.03)


def test_nonfinite():
    outcome = judge(
        evidence(-40, nonfinite=(NonFinite("data", "nan", 3, (0, 2, 1)), NonFinite("data", "inf", 1, (1, 0, 0))))
    )
    assert outcome.state == "nonfinite"
    assert "first sequence 0, step 2, column 1" in outcome.sentence
    assert [f.code for f in outcome.findings] == ["GS-NONFINITE"] * 2
    assert {f.level for f in outcome.findings} == {"error"}
    lost = judge(evidence(log10_gain=None, rate=None, interval=None))
    assert lost.state == "nonfinite"
    assert lost.findings == ()


def test_exact_zero():
    e = evidence(-40, log10_gain=-math.inf, rate=None, interval=None, half_life=None, zero_from=12, reach=11)
    outcome = judge(e)
    assert outcome.state == "vanishing"
    assert "exactly zero at lag 12 and beyond" in outcome.sentence
    assert "exactly zero at lag 1 and beyond" in judge(replace(e, zero_from=1)).sentence
    (finding,) = outcome.findings
    assert finding.code == "GS-VANISHING"
    assert "at lag 12 and beyond" in finding.message
    assert codes(replace(e, underflow={"float32": 12})) == ["GS-VANISHING"]  # zero says it already


def test_no_loss_gradient_at_the_last_step():
    e = evidence(log10_gain=None, rate=None, interval=None, zero_from=0)
    assert judge(e).state == "inconclusive"
    assert "loss gradient is zero at the last step" in judge(e).sentence
    assert codes(e) == []


def test_a_few_dead_sequences():
    e = evidence(-5, rate=None, interval=None, half_life=None)
    assert judge(e).state == "inconclusive"
    assert "some gradients are exactly zero" in judge(e).sentence


@pytest.mark.parametrize("decades", [-40, 0, 25])
def test_finding_of_the_state(decades):
    found = codes(evidence(decades))
    assert ("GS-VANISHING" in found) == (decades < -3)
    assert ("GS-EXPLODING" in found) == (decades > 3)
    assert len(found) == (decades != 0)


def test_remedies():
    def remedy(**changes):
        (finding,) = judge(evidence(-40, **changes)).findings
        return finding.remedy

    assert "update gate" in remedy()
    assert remedy().endswith("gradscope compare gru gru:init=chrono,tmax=200 --hidden 8")
    assert remedy(hidden=128).endswith("tmax=200")
    file = remedy(source="checkpoint")
    assert file.endswith("gradscope compare m.pt gru:init=chrono,tmax=200 --hidden 8")
    assert "gradscope compare rnn lstm:init=chrono" in remedy(cell="rnn", keep_gates={})
    # a gate that lets go when open has a bias all the same
    mingru = remedy(cell="mingru", keep_gates={}, forget_gates={"z": "update"})
    assert "update gate" in mingru
    assert "gradscope compare mingru mingru:init=chrono" in mingru
    # what has a road around is not told to get one; where nothing crosses weights, none are to be changed
    other = {
        r: remedy(keep_gates={}, path_kinds=r, settings={"remedies": False})
        for r in ((False, True), (True, True), (True, False))
    }
    assert [("A cell with a skip path" in text, "--remedies" in text) for text in other.values()] == [
        (True, True),
        (False, True),
        (False, False),
    ]
    # another initialisation stays as it is, but for one bias; nothing is advised that the user has already
    orthogonal = {"settings": {"init": "orthogonal"}}
    assert "compare gru:init=orthogonal gru:init=orthogonal,update_bias=3" in remedy(**orthogonal)
    assert "compare" not in remedy(**orthogonal, given={"set": {"update_bias": "3"}})
    forgets = {"cell": "mgu", "keep_gates": {}, "forget_gates": {"f": "forget"}}
    assert remedy(**orthogonal, **forgets).endswith("mgu:init=orthogonal,forget_bias=-3 --hidden 8")
    chrono = {"settings": {"init": "chrono"}}
    assert "tmax=30 gru:init=chrono,tmax=200" in remedy(**chrono, given={"set": {"tmax": "30"}})
    assert "compare" not in remedy(**chrono)
    # nor a command for what has no name on the command line
    assert "compare" not in remedy(source="python")


def test_dependencies_beyond():
    (finding,) = judge(evidence(-40)).findings
    assert finding.message == "Dependencies longer than 15 steps receive less than 0.1 % of the gradient."


def test_underflow():
    e = evidence(-40, underflow={"float32": 190, "bfloat16": None, "float16": 36})
    (_, finding) = judge(e).findings
    assert finding.code == "GS-UNDERFLOW"
    assert "at lag 190 in float32" in finding.message
    assert "at lag 36 in float16" in finding.message
    assert "bfloat16" not in finding.message


@pytest.mark.parametrize(
    ("peak", "decades", "found"),
    [
        (None, 0, False),
        ((9, 0.9), 0, False),
        ((9, 1.1), 0, True),
        ((9, 1.1), -40, True),
        ((9, 3.5), 2.7, False),
        ((9, 3.8), 2.7, True),
    ],
)
def test_transient(peak, decades, found):
    assert ("GS-TRANSIENT" in codes(evidence(decades, peak=peak))) == found


@pytest.mark.parametrize(
    ("radius", "decades", "found"),
    [(0.9, 10, True), (1.1, -10, True), (0.9, -10, False), (1.1, 10, False), (1.1, -0.1, False), (None, 10, False)],
)
def test_misleading_radius(radius, decades, found):
    assert ("GS-RADIUS-MISLEADS" in codes(evidence(decades, step_radius=radius))) == found


def test_saturated_gates():
    assert codes(evidence(gates={"z": (0.2, 0.3, None)})) == []
    (finding,) = judge(evidence(gates={"z": (0.1, 0.6, None)})).findings
    assert finding.code == "GS-SATURATED"
    assert "70%" in finding.message
    assert "open, it lets the gradient pass" in finding.message
    (finding,) = judge(evidence(gates={"z": (0.6, 0.1, None)})).findings
    assert "carries" not in finding.message
    (finding,) = judge(evidence(gates={"r": (0.1, 0.6, None)})).findings
    assert "carries" not in finding.message


def test_dead_units():
    assert codes(evidence(gates={"h": (0.9, 0.0, 0.05)})) == []
    (finding,) = judge(evidence(gates={"h": (0.9, 0.0, 0.25)})).findings
    assert finding.code == "GS-DEAD"
    assert "25%" in finding.message


@pytest.mark.parametrize(("share", "found"), [(0.0, 0), (1.0, 0), (1.04, 0), (1.2, 1), (-0.2, 1), (None, 0)])
def test_roads_that_cancel(share, found):
    assert codes(evidence(around_share=share)) == ["GS-ROADS-CANCEL"] * found


@pytest.mark.parametrize(("cancellation", "found"), [(None, 0), (1.0, 0), (OPPOSED, 0), (1.1 * OPPOSED, 1)])
def test_crossings_that_cancel(cancellation, found):
    assert codes(evidence(cancellation=cancellation)) == ["GS-ROADS-CANCEL"] * found
    (finding,) = judge(evidence(around_share=1.2, cancellation=343.0)).findings
    assert "1.20" in finding.message and "343 times" in finding.message


def test_loss_everywhere():
    assert codes(evidence(everywhere=True)) == ["GS-LOSS-EVERYWHERE"]


# The same through `analyze`: the evidence is what was measured.


def of(jacobians, **options):
    return analyze(JacobianChain.from_arrays(np.asarray(jacobians, float)), **options)


def state_of(jacobians, **options):
    return of(jacobians, **options).verdict["state"]


def finding_codes(result):
    return [f["code"] for f in result.verdict["findings"]]


def test_states_of_scalars():
    for factor, state in ((0.5, "vanishing"), (1.0, "stable"), (2.0, "exploding")):
        assert state_of(np.full((100, 1, 1), factor)) == state
    result = of(np.full((100, 1, 1), 0.5))
    assert result.verdict["sentence"] == (
        "VANISHING: the gradient halves every step and is below 1e-3 after 9 "
        "(Jacobians, state size 1, 100 steps, seed 0)"
    )
    assert finding_codes(result) == ["GS-VANISHING", "GS-UNDERFLOW"]


def test_short_runs_through_analyze():
    assert state_of(np.full((1, 1, 1), 0.5)) == "inconclusive"
    assert state_of(np.full((9, 1, 1), 0.5)) == "inconclusive"
    assert state_of(np.full((10, 1, 1), 0.5)) == "vanishing"


def test_jordan_block_through_analyze():
    """Radius 0.99, and yet the gradient grows; a norm of 27 is below the bar of a thousand."""
    result = of(np.tile([[0.99, 1], [0, 0.99]], (200, 1, 1)), loss_gradient=np.array([1.0, 0.0]))
    assert result.verdict["state"] in ("stable", "inconclusive")
    assert result.metrics["log10_gain"] == pytest.approx(np.log10(200 * 0.99**199), abs=1e-3)
    assert "GS-TRANSIENT" not in finding_codes(result)  # the peak, 37 at 100, is not ten times the end
    longer = of(np.tile([[0.99, 1], [0, 0.99]], (600, 1, 1)), loss_gradient=np.array([1.0, 0.0]))
    assert "GS-TRANSIENT" in finding_codes(longer)
    assert "up to 100 steps back" in str(longer.verdict["findings"]) or "99 steps back" in str(
        longer.verdict["findings"]
    )


def test_misleading_radius_through_analyze():
    up = np.array([[0.0, 2.0], [0.0, 0.0]])
    result = of(np.stack([up, up.T] * 20), loss_gradient=np.array([1.0, 1.0]))
    assert result.verdict["state"] == "exploding"
    assert "GS-RADIUS-MISLEADS" in finding_codes(result)


def test_dead_relu_is_exactly_zero():
    cell = cell_class("rnn")(W=np.eye(2), U=np.eye(2), b_ih=np.full(2, -100.0), b_hh=np.zeros(2), activation="relu")
    result = analyze(cell, steps=30, batch=4)
    assert result.verdict["state"] == "vanishing"
    assert "exactly zero at lag 1 and beyond" in result.verdict["sentence"]
    assert finding_codes(result) == ["GS-VANISHING", "GS-DEAD"]
    assert result.metrics["log10_gain"] is None
    places = {r["path"]: r for r in result.document["nonfinite"]}
    assert places["metrics.log10_gain"]["kind"] == "-inf"
    assert places["series.log10_gradient_norm.state.median"] == {
        "path": "series.log10_gradient_norm.state.median",
        "kind": "-inf",
        "count": 30,
        "first": [0],
    }


def test_one_dead_sequence_of_many_is_not_nonfinite():
    J = np.full((50, 8, 1, 1), 0.99)
    J[20, 3] = 0
    result = of(J)
    assert result.verdict["state"] == "inconclusive"
    assert "some gradients are exactly zero" in result.verdict["sentence"]


def test_zero_loss_gradient():
    J = np.full((50, 3, 1, 1), 0.99)
    padded = np.ones((3, 50, 1))
    padded[0, -1] = 0  # one sequence is shorter
    result = of(J, loss_gradient=np.zeros(1))
    assert result.verdict["state"] == "inconclusive"
    assert "loss gradient is zero at the last step" in result.verdict["sentence"]
    for gradient in (np.array([[0.0], [1.0], [1.0]]), padded):
        result = of(J, loss_gradient=gradient)  # the other two are followed, and the one is told of
        assert result.verdict["state"] == "stable"
        assert result.metrics["log10_gain"] == pytest.approx(50 * np.log10(0.99))
        (warning,) = result.document["warnings"]
        assert warning["message"] == "1 of 3 sequences have no loss at the last step"


def test_most_sequences_decide_on_exact_zero():
    """Half of them dead is not "exactly zero": the median of a zero and a number is no zero."""
    J = np.full((50, 4, 1, 1), 0.99)
    J[20, :2] = 0
    assert of(J).verdict["state"] == "inconclusive"
    J[20, 2] = 0
    assert "exactly zero at lag 30 and beyond" in of(J).verdict["sentence"]


def test_a_run_that_ends_before_the_reach_does_not_speak_of_what_is_beyond():
    result = of(np.full((20, 1, 1), 0.6), threshold=1e-6)
    (found,) = (f for f in result.verdict["findings"] if f["code"] == "GS-VANISHING")
    assert result.metrics["reach"] == 20
    assert found["message"] == "0.0037 % of the gradient norm is left after 20 steps, the end of the run."


def test_identical_sequences_are_one():
    """Two copies of a noisy sequence have the interval of one, not an interval of width zero."""
    J = np.exp(np.random.default_rng(0).normal(-0.1, 0.3, (100, 1, 1, 1)))
    once, twice = of(J), of(np.repeat(J, 2, axis=1), loss_gradient=np.ones(1))
    assert twice.metrics["rate_ci95"] == pytest.approx(once.metrics["rate_ci95"])
    assert np.ptp(once.metrics["rate_ci95"]) > 0.01


def test_nan_has_a_place():
    cell = create("gru", hidden_size=3, input_size=2)
    inputs = np.zeros((2, 30, 2))
    inputs[1, 7, 0] = np.nan
    result = analyze(cell, inputs)
    assert result.verdict["state"] == "nonfinite"
    assert "1 value is nan in inputs, first step 7, input 0, sequence 1" in result.verdict["sentence"]
    assert result.document["nonfinite"][0] == {"path": "inputs", "kind": "nan", "count": 1, "first": [7, 0, 1]}
    U = cell.U.copy()
    U[4, 1] = np.inf
    result = analyze(cell.replace(U=U), steps=20, batch=2)
    assert result.verdict["state"] == "nonfinite"
    assert "1 value is inf in weights.U, first at [4, 1]" in result.verdict["sentence"]


def test_overflow_has_a_place():
    result = analyze(create("linear", hidden_size=2, input_size=2, init="identity", gain=1e50), steps=20, warmup=0)
    assert result.verdict["state"] == "nonfinite"
    # s_1 is the input alone, s_8 would be 10^350; two steps later inf times 0 is nan
    assert "inf in states, first step 8" in result.verdict["sentence"]


def test_nan_in_jacobians():
    J = np.tile(0.9 * np.eye(2), (30, 1, 1))
    J[10, 0, 1] = np.nan
    result = of(J)
    assert result.verdict["state"] == "nonfinite"
    assert "1 value is nan in jacobians, first step 10" in result.verdict["sentence"]
    assert finding_codes(result) == ["GS-NONFINITE"]


def test_saturated_and_dead_through_analyze():
    open_ = analyze(create("lstm", hidden_size=4, input_size=2, forget_bias=8), steps=30, lags=0)
    messages = [f["message"] for f in open_.verdict["findings"] if f["code"] == "GS-SATURATED"]
    assert any("Gate f" in m and "lets the gradient pass" in m for m in messages)
    assert not [f for f in finding_codes(analyze(create("lstm", hidden_size=4), steps=30, lags=0)) if "SATUR" in f]


def test_loss_at_every_step_through_analyze():
    cell = create("gru", hidden_size=4, input_size=2)
    last, total = (analyze(cell, steps=60, lags=0, loss=n) for n in ("last", "sum"))
    assert total.verdict["state"] == last.verdict["state"] == "vanishing"
    assert total.metrics["rate"] == pytest.approx(last.metrics["rate"], rel=1e-12)
    assert total.metrics["reach"] == last.metrics["reach"]
    assert "GS-LOSS-EVERYWHERE" in finding_codes(total)
    assert "GS-LOSS-EVERYWHERE" not in finding_codes(last)
    gradient = total.series["log10_gradient_norm"]["state"]["median"]
    assert gradient[0] > last.series["log10_gradient_norm"]["state"]["median"][0] + 3  # fed from the steps nearby
