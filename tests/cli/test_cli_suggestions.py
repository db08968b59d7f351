"""Commands that a report suggests: each runs as pasted, measures the model again, and one that was not measured."""

import json
import re
import shlex

import numpy as np
import pytest

QUICK = ("--steps", "40", "--batch", "4", "--warmup", "2", "--lags", "0")
SMALL = ("--hidden", "6", "--input-size", "3", *QUICK)
COMMAND = re.compile(r"gradscope compare [^\n]+$")
IDLE = {"GS-NO-EFFECT", "GS-UNLIKE", "GS-SHORT-DATA", "GS-LEFT-OUT"}  # what no suggested command may be told
OPTIONS = ("steps", "batch", "warmup", "seed", "threshold", "loss", "dtype", "drive", "input_scale", "nan", "gain")

STEP = "import numpy as np\n{}\n\n\ndef step(x, s, *, rate=0.3):\n    return rate * np.tanh(s + x[:1])\n"
CELL = """
from dataclasses import dataclass
from gradscope.networks import Gate, OneMapCell, Partials, dsigmoid, dtanh, sigmoid, tanh


@dataclass(frozen=True, eq=False)
class Mine(OneMapCell):
    \"\"\"h' = k h + scale (1 - k) tanh(p_n).\"\"\"

    scale: float = 1.0
    gates = {"k": Gate("keep", (0, 1), keeps=1), "n": Gate("new", (-1, 1))}

    def activations(self, p, s):
        return sigmoid(p["k"]), tanh(p["n"])

    def advance(self, p, s):
        k, n = self.activations(p, s)
        return {"h": k * s["h"] + self.scale * (1 - k) * n}

    def partials(self, p, s):
        k, n = self.activations(p, s)
        dk, dn = (s["h"] - self.scale * n) * dsigmoid(k), self.scale * (1 - k) * dtanh(n)
        return Partials(through={"h": {"k": dk, "n": dn}}, around={"h": {"h": k}})
"""


def layer(gates, inputs=3, hidden=6, suffix="_l0", prefix="rnn."):
    """Return small weights of one layer, by PyTorch's names."""
    rng = np.random.default_rng(len(suffix))
    shapes = {"weight_ih": (gates * hidden, inputs), "weight_hh": (gates * hidden, hidden)}
    shapes |= {"bias_ih": (gates * hidden,), "bias_hh": (gates * hidden,)}
    return {f"{prefix}{name}{suffix}": 0.2 * rng.standard_normal(shape) for name, shape in shapes.items()}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Write models and data into a folder with a space in its name, beside the one that commands run in."""
    monkeypatch.chdir(tmp_path)
    (place := tmp_path / "my runs").mkdir()
    rng = np.random.default_rng(1)

    def save(name, **arrays):
        np.savez(place / name, **arrays)

    save("gru.npz", **layer(3), **{"head.weight": 0.1 * rng.standard_normal((3, 6)), "emb.weight": rng.random((9, 3))})
    save("rnn.npz", **layer(1))
    save("two.npz", **layer(3), **layer(3, inputs=6, suffix="_l1"))
    save("several.npz", **layer(4, prefix="encoder."), **layer(4, prefix="decoder."))
    both = layer(3) | layer(3, suffix="_l0_reverse")
    save("unlike.npz", **layer(4, prefix="encoder."), **layer(3, prefix="decoder."))
    save("both.npz", **both)
    save("deep.npz", **both, **layer(3, inputs=12, suffix="_l1"), **layer(3, inputs=12, suffix="_l1_reverse"))
    np.save(place / "x.npy", rng.standard_normal((3, 60, 3)))
    np.save(place / "long.npy", rng.standard_normal((30, 3)))
    np.save(place / "tbf.npy", rng.standard_normal((30, 4, 3)))
    np.save(place / "tokens.npy", rng.integers(0, 9, (3, 30)))
    np.save(place / "loss.npy", rng.standard_normal((3, 6)))
    save("data.npz", a=rng.standard_normal((3, 30, 3)), b=rng.standard_normal((4, 40, 3)))
    numbers = rng.standard_normal((30, 4))
    for name, (comma, point) in {"plain.csv": (",", "."), "odd.csv": ("|", ",")}.items():
        rows = [comma.join(f"{v:.4f}".replace(".", point) for v in row) for row in numbers]
        (place / name).write_text("\n".join([comma.join(("when", "a", "b", "c")), *rows]) + "\n")
    gaps = numbers.copy()
    gaps[3, 1] = np.nan
    np.save(place / "gaps.npy", gaps)
    (place / "mine.py").write_text(CELL)
    (place / "step.py").write_text(STEP.format(""))
    (place / "fixed.py").write_text(STEP.format("state_size, input_size = 5, 2"))
    (place / "options.toml").write_text("hidden = 6\ninput-size = 3\nsteps = 40\nbatch = 4\nlags = 0\ngain = 0.5\n")
    return place


def cells():
    for name in ("rnn", "lstm", "gru", "mgu", "minimal_rnn", "cfc", "indrnn", "qrnn", "linear"):
        yield f"--cell {name}", SMALL
    for options in (
        "--cell gru --set update_bias=0.5",
        "--cell gru --set reset=before",
        "--cell rnn --set activation=relu --gain 0.3",
        "--cell gru --init orthogonal",
        "--cell mgu --init keras --set forget_bias=-0.5",
        "--cell lstm --init chrono --set tmax=4 --set input_bias=-3",
        "--cell lstm --set projection=4",
        "--cell gru --layers 2 --residual --norm layer --gain 0.2",
        "--cell gru --layers 2 --bidirectional",
        "--cell lstm --drive self",
        "--cell gru --drive sine --input-scale 0.5 --seed 3 --threshold 0.01",
        "--cell gru --dtype float32 --loss mean",
        "--cell 'my runs/mine.py' --set scale=0.5",
        "--cell 'my runs/mine.py:Mine' --init orthogonal --gain 0.5",
        "--cell 'my runs/step.py' --set rate=0.2",
    ):
        yield options, SMALL
    yield "--cell gru --spectrum full --step-spectra all", (*SMALL[:-1], "3")
    yield "--cell 'my runs/fixed.py'", QUICK
    yield "--cell gru --config 'my runs/options.toml'", ()
    for data in (
        "x.npy' --steps 40 --warmup 4",
        "x.npy' --steps 900 --batch 2",
        "tbf.npy' --layout tbf",
        "data.npz' --data-key b",
        "plain.csv' --columns a,c --threshold 0.1",
        "odd.csv' --delimiter '|' --decimal , --columns a,b,c",
        "gaps.npy' --nan zero",
        "x.npy' --loss-gradient 'my runs/loss.npy'",
        "long.npy' --drive self --steps 24 --warmup 1",
    ):
        yield f"--cell gru --hidden 6 --lags 0 --data 'my runs/{data}", ()
    yield "--cell gru --hidden 6 --lags 0 --data 'my runs/data.npz:a'", ()


def checkpoints():
    for options in (
        "gru.npz'",
        "rnn.npz' --activation relu",
        "two.npz'",
        "both.npz'",
        "both.npz' --layer rnn.reverse",
        "deep.npz' --layer l1",
        "several.npz'",
        "several.npz' --layer encoder --dtype float32",
        "several.npz' --gate-order ifog",
        "unlike.npz'",
        "gru.npz' --drive self --readout head",
    ):
        yield f"'my runs/{options}", QUICK
    for options in (
        "--data 'my runs/x.npy'",
        "--data 'my runs/odd.csv' --columns a,b,c --delimiter '|' --decimal ,",
        "--data 'my runs/tokens.npy' --embedding emb --steps 25",
        "--data 'my runs/long.npy' --drive self --readout head --steps 24",
    ):
        yield f"'my runs/gru.npz' {options} --lags 0", ()


SITUATIONS = [*cells(), *checkpoints()]


def results(done):
    """Return the analyses of a JSON document that was written without complaints."""
    assert (done.code, done.err) == (0, ""), done
    document = json.loads(done.out)
    analyses = document.get("results", [document])
    codes = {w["code"] for part in (document, *analyses) for w in part["warnings"]}
    return analyses, codes


def suggested(analyses):
    """Return the commands in the findings, each once."""
    findings = [f for a in analyses for f in a["verdict"]["findings"]]
    texts = [text for f in findings for text in (f["message"], f["remedy"])]
    return list(dict.fromkeys(m[0] for text in texts if (m := COMMAND.search(text))))


def sizes(analysis):
    model = analysis["model"]
    return model["hidden_size"], model["layers"], model["input_size"]


def test_there_are_many():
    assert len(SITUATIONS) >= 50


@pytest.mark.parametrize(("line", "more"), SITUATIONS, ids=[line for line, _ in SITUATIONS])
def test_every_suggestion_runs_as_pasted(run, folder, line, more):
    before, _ = results(run("analyze", *shlex.split(line), *more, "--json"))
    vanishing = [a for a in before if a["verdict"]["state"] == "vanishing"]
    assert vanishing, "the situation must be one that something is suggested for"
    commands = suggested(vanishing)
    assert len(commands) == (2 if "unlike" in line else 1)
    for number, command in enumerate(commands):
        after, codes = results(run(*shlex.split(command)[1:], "--json"))
        assert not codes & IDLE, command
        again, other = after[:-1], after[-1]
        measured = [a["metrics"] for a in after]
        # the model itself is measured again, with every option that matters ...
        assert vanishing[number]["metrics"] in measured, command
        # ... and one that was not, of the same sizes, under the same options
        assert other["metrics"] not in [a["metrics"] for a in before]
        assert all(sizes(a)[:2] == sizes(other)[:2] for a in again[:1])
        configs = [{k: a["config"].get(k) for k in OPTIONS} for a in after]
        assert all(c | {"gain": None} == configs[-1] | {"gain": None} for c in configs)


BESIDE = {
    "gru gru:init=chrono,tmax=40": [],
    "rnn lstm:init=chrono,tmax=40 gru": ["gru gru:init=chrono,tmax=40"],
    "gru rnn": ["gru gru:init=chrono,tmax=40", "rnn lstm:init=chrono,tmax=40"],
    "lstm:init=orthogonal lstm:init=orthogonal,forget_bias=3.0": [],
    "'my runs/gru.npz' gru": ["'my runs/gru.npz' gru:init=chrono,tmax=40", "gru gru:init=chrono,tmax=40"],
    "'my runs/mine.py:Mine:scale=0.5' 'my runs/mine.py:Mine:init=chrono,tmax=40,scale=0.5'": [],
    "gru:hidden=5 gru": ["gru gru:init=chrono,tmax=40"] * 2,
}


@pytest.mark.parametrize("targets", BESIDE)
def test_what_stood_beside_is_not_suggested(run, folder, targets):
    before, _ = results(run("compare", *shlex.split(targets), *SMALL, "--json"))
    commands = suggested([a for a in before if a["verdict"]["state"] == "vanishing"])
    assert [c.partition(" --")[0].removeprefix("gradscope compare ") for c in commands] == BESIDE[targets]
    for command in commands:
        results(run(*shlex.split(command)[1:], "--json"))
