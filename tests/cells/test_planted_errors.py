"""Errors planted into the files of cells, one at a time: `check_cell` or the equations of the paper refuse each.

A Jacobian that is not the derivative of its step is what `check_cell` finds; a step that is wrong together with its
Jacobian, only the equations can tell.
"""

import re

import pytest
from mutants import mutants, refusal
from test_papers import CELLS, FILES

LSTM = (FILES / "lstm.py").read_text(encoding="utf-8")

SQUARE = [{"projection": 4}]  # of 4 units: a transposed matrix fits
JACOBIAN, STEP = "J v is not the derivative of the step", "not the paper's step"
MORE = ("from functools import", "import dataclasses\nfrom functools import")
EACH_TRANSPOSED = "np.concatenate([u.T for u in np.split(self.U, 4)])"
ADVANCE = "    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:\n        i, f"
LINEARISE = """    def linearise(self, x, s):
        J = super().linearise(x, s)
        return dataclasses.replace(J, {})

"""
OF_PROJECTION = "maps=(J.maps[0], dataclasses.replace(J.maps[1], U=self.W_hr.T))"

PLANTED = {
    "wrong sign in the Jacobian": (JACOBIAN, ("c * df, i", "-c * df, i")),
    "wrong sign in the road around": (JACOBIAN, ('"c": {"c": f}}', '"c": {"c": -f}}')),
    "wrong sign in the step": (JACOBIAN, ('f * s["c"] + i * g', 'f * s["c"] - i * g')),
    "wrong sign in both": (
        STEP,
        ('f * s["c"] + i * g', 'f * s["c"] - i * g'),
        ("f * c + i * g", "f * c - i * g"),
        ("g * di", "-g * di"),
        ("i * dtanh", "-i * dtanh"),
    ),
    "dropped term in the Jacobian": (JACOBIAN, ('"f": dh_c * dc_f, ', "")),
    "dropped term in the road around": (JACOBIAN, ('"h": {"c": dh_c * f}, ', "")),
    "dropped factor in the Jacobian": (JACOBIAN, ("dh_c = o * dtanh(new_c)", "dh_c = dtanh(new_c)")),
    "dropped factor within the step": ("d h'/d c' within", ('within={"h": {"c": dh_c}}', 'within={"h": {"c": o}}')),
    "dropped term in both": (
        STEP,
        ('f * s["c"] + i * g', 'f * s["c"]'),
        ("f * c + i * g", "f * c"),
        ('{"i": dh_c * dc_i, "f": dh_c * dc_f, "g": dh_c * dc_g,', '{"f": dh_c * dc_f,'),
        ('{"i": dc_i, "f": dc_f, "g": dc_g}', '{"f": dc_f}'),
    ),
    "swapped gates in the Jacobian": (JACOBIAN, ('"i": dc_i, "f": dc_f', '"i": dc_f, "f": dc_i')),
    "swapped gates in the step": (JACOBIAN, ('i, f = sigmoid(p["i", "f"])', 'f, i = sigmoid(p["i", "f"])')),
    "swapped gates in both": (
        STEP,
        ('i, f = sigmoid(p["i", "f"])', 'f, i = sigmoid(p["i", "f"])'),
        ("di, df = dsigmoid", "df, di = dsigmoid"),
        ('"i": dh_c * dc_i, "f": dh_c * dc_f', '"i": dh_c * dc_f, "f": dh_c * dc_i'),
        ('"i": dc_i, "f": dc_f', '"i": dc_f, "f": dc_i'),
    ),
    "swapped names of gates": (
        STEP,
        ('"i": Gate', '"i_": Gate'),
        ('"f": Gate', '"i": Gate'),
        ('"i_": Gate', '"f": Gate'),
    ),
    "transposed projection in both": (STEP, ("_Projection(None, self.W_hr,", "_Projection(None, self.W_hr.T,")),
    "transposed projection in the Jacobian": (JACOBIAN, MORE, (ADVANCE, LINEARISE.format(OF_PROJECTION) + ADVANCE)),
    "transposed weights in both": (STEP, MORE, ("(self,) if", f"(self.replace(U={EACH_TRANSPOSED}),) if")),
    "transposed weights in the Jacobian": (
        JACOBIAN,
        MORE,
        (ADVANCE, LINEARISE.format(f"U={EACH_TRANSPOSED}") + ADVANCE),
    ),
}


@pytest.mark.parametrize("what", PLANTED)
def test_errors_in_the_lstm(tmp_path, what):
    message, *edits = PLANTED[what]
    text = LSTM
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "lstm.py"
    path.write_text(text, encoding="utf-8")
    found = refusal(path, "lstm", SQUARE if "projection" in what else [{}])
    assert found is not None and message in found


# Changes of a text that change no number.
UNNAMED = "_FromPositions _EmbedInput _Context _FromContext"  # makes what is no gate of its cell: nothing reads it
EQUIVALENT = [
    rf"({UNNAMED.replace(' ', '|')})\.activations: .*",
    r"\w+\.partials: dropped: (\{'\w': )?\{'[cqz]': (e|dh_c|dt)\}\}? -> \{\}",  # within: what is left out is a remark
    r"NRU\._directions: swapped: \(\.\.\., :, None, :\) -> .*",  # the same axes
    r"NRU\.linearise: swapped: \[np\.zeros.*",  # where J is a matrix, what goes around is a definition: `test_nru`
]


@pytest.mark.parametrize("name", CELLS)
def test_one_error_anywhere(tmp_path, name):
    """Every sum with another sign, without one of its terms or factors; every pair of neighbours in a list swapped."""
    text = (FILES / f"{name}.py").read_text(encoding="utf-8")
    path = tmp_path / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    assert refusal(path, name) is None
    planted = unseen = 0
    for what, wrong in mutants(text):
        path.write_text(wrong, encoding="utf-8")
        planted += 1
        if refusal(path, name) is None:
            assert any(re.fullmatch(e, what) for e in EQUIVALENT), f"not found: {what}"
            unseen += 1
    assert planted > max(2, 2 * unseen)
