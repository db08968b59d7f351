"""Every document follows the schema, and the schema describes every field of every document."""

import json
from functools import cache
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import gradscope
from gradscope import plugins
from gradscope.checking.create import directions
from gradscope.cli.app import main
from gradscope.dynamics.chain import JacobianChain
from gradscope.files.layouts._load import read_checkpoint
from gradscope.networks.stack import Direction
from gradscope.report.inspection import inspection_document
from gradscope.report.schema import schema

SCHEMA = schema()
FIRST = json.loads(Path(__file__).with_name("schema-1.0.json").read_text(encoding="utf-8"))  # without descriptions
KINDS = [r["$ref"].rsplit("/", 1)[1] for r in SCHEMA["oneOf"]]
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SIZES = {"hidden_size": 6, "input_size": 3}
QUICK = {"steps": 20, "batch": 3, "warmup": 5, "lags": 4}


@cache
def validator(kind):
    return jsonschema.Draft202012Validator({**SCHEMA, "oneOf": [{"$ref": f"#/$defs/{kind}"}]})


def follows(result):
    """Check the text, not the objects that it was written from: numpy numbers would be found here."""
    text = result.to_json() if isinstance(result, gradscope.Result) else json.dumps(result, allow_nan=False)
    document = json.loads(text, parse_constant=lambda c: pytest.fail(f"{c} in JSON"))
    (error,) = [*validator(document["kind"]).iter_errors(document), None][:1]
    if error is not None:
        best = jsonschema.exceptions.best_match([error])
        pytest.fail(f"{best.json_path}: {best.message[:300]}")
    return document


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert KINDS == ["analysis", "comparison", "inspection", "check"]


def grown(old, new, path="#"):
    """Check that all that one schema says, the other says, too; it may have further properties that may be left out."""
    if isinstance(old, list):
        assert sorted(map(json.dumps, old)) == sorted(map(json.dumps, new)), path
    elif isinstance(old, dict):
        properties = path.endswith(("/properties", "/$defs"))
        assert set(old) <= set(new) if properties else set(old) == set(new) - {"description", "title"}, path
        for key, value in old.items():
            grown(value, new[key], f"{path}/{key}")
    else:
        assert old == new and type(old) is type(new), path


def without_empty(node):
    if isinstance(node, dict):
        return {k: without_empty(v) for k, v in node.items() if (k, v) != ("required", [])}
    return [without_empty(v) for v in node] if isinstance(node, list) else node


def test_the_schema_accepts_and_rejects_what_version_1_0_did():
    """Within version 1 it only grows."""
    grown(without_empty(FIRST), without_empty(SCHEMA))


def objects(node, path="#"):
    if isinstance(node, dict):
        if node.get("type") == "object" or "properties" in node:
            yield path, node
        for k, v in node.items():
            yield from objects(v, f"{path}/{k}")
    elif isinstance(node, list):
        for i, v in enumerate(node):
            yield from objects(v, f"{path}/{i}")


def test_every_property_is_described():
    for path, node in objects(SCHEMA["$defs"]):
        assert "additionalProperties" in node, path
        for name, value in node.get("properties", {}).items():
            assert len(value.get("description", "")) > 8, f"{path}/{name}"


def test_every_definition_is_used():
    text = json.dumps(SCHEMA)
    for name in SCHEMA["$defs"]:
        assert f'"#/$defs/{name}"' in text, name


@pytest.mark.parametrize("init", ["pytorch", "orthogonal"])
@pytest.mark.parametrize("name", plugins.names("cells"))
def test_every_cell(name, init):
    follows(gradscope.analyze(gradscope.create(name, init=init, **SIZES), **QUICK))


@pytest.mark.parametrize("init", plugins.names("inits"))
def test_every_init(init):
    follows(gradscope.analyze(gradscope.create("lstm", init=init, **SIZES), **QUICK))


@pytest.mark.parametrize("loss", ["last", "mean", "sum"])
def test_losses(loss):
    document = follows(gradscope.analyze(gradscope.create("lstm", **SIZES), loss=loss, **QUICK))
    assert ("log10_last_step_gradient_norm" in document["series"]) == (loss != "last")


@pytest.mark.parametrize("shape", [(6,), (3, 6), (3, 20, 6)])
def test_given_loss_gradients(shape):
    gradient = np.random.default_rng(0).standard_normal(shape)
    follows(gradscope.analyze(gradscope.create("gru", **SIZES), loss_gradient=gradient, **QUICK))


def test_stack():
    follows(gradscope.analyze(gradscope.create("lstm", layers=3, **SIZES), **QUICK))


def test_directions():
    for cell in directions("gru", layers=2, **SIZES).values():
        assert isinstance(cell, Direction)
        follows(gradscope.analyze(cell, **QUICK))


@pytest.mark.parametrize(
    "changes", [{"lags": 0}, {"steps": 1}, {"steps": 2, "batch": 1}, {"spectrum": 1}, {"batch": 1}]
)
def test_sizes(changes):
    follows(gradscope.analyze(gradscope.create("gru", **SIZES), **{**QUICK, **changes}))


@pytest.mark.parametrize("gain", [0.0, 1e-200, 1e30, 1e300])
@pytest.mark.parametrize("name", ["rnn", "linear", "gru"])
def test_extreme_weights(name, gain):
    cell = gradscope.create(name, gain=gain, **SIZES)
    with np.errstate(all="ignore"):
        follows(gradscope.analyze(cell, **QUICK))


def test_relu_units_that_died():
    cell = gradscope.create("rnn", activation="relu", **SIZES)
    cell = cell.replace(b_hh=np.full(6, -1e3))
    document = follows(gradscope.analyze(cell, **QUICK))
    assert document["verdict"]["state"] == "vanishing"
    assert any("never_active" in g for g in document["series"]["gates"].values())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_and_inputs_that_are_not_finite(bad):
    cell = gradscope.create("gru", **SIZES)
    U = cell.U.copy()
    U[3, 2] = bad
    x = np.random.default_rng(0).standard_normal((2, 20, 3))
    x[1, 7, 0] = bad
    for document in (
        follows(gradscope.analyze(cell.replace(U=U), **QUICK)),
        follows(gradscope.analyze(cell, x)),
    ):
        assert document["verdict"]["state"] == "nonfinite"
        assert document["nonfinite"]


@pytest.mark.parametrize(("name", "gain"), [("lstm", 1), ("gru", 30), ("rnn", 0), ("linear", 1e-200), ("linear", 1e3)])
def test_remedies(name, gain):
    cell = gradscope.create(name, gain=gain, **SIZES)
    with np.errstate(all="ignore"):
        assert "remedies" in follows(gradscope.analyze(cell, remedies=True, **QUICK))


def test_own_jacobians():
    J = 0.9 * np.random.default_rng(0).standard_normal((20, 5, 5)) / np.sqrt(5)
    follows(gradscope.analyze(JacobianChain.from_arrays(J)))


def test_own_step():
    W = 0.5 * np.eye(4)
    cell = gradscope.from_step(lambda x, s: np.tanh(s @ W.T + x), state_size=4, input_size=4)
    follows(gradscope.analyze(cell, steps=20, batch=2))


def test_comparison():
    cells = {n: gradscope.create(n, **SIZES) for n in ("rnn", "lstm", "linear")}
    document = follows(gradscope.compare(cells, **QUICK))
    assert sorted(document["verdict"]["order"]) == sorted(cells)


def checkpoint(path, cells=("rnn",), bias=True):
    rng, arrays = np.random.default_rng(0), {"head.weight": np.ones((2, 6))}
    for name in cells:
        arrays |= {f"{name}.weight_ih_l0": rng.normal(size=(18, 3)), f"{name}.weight_hh_l0": rng.normal(size=(18, 6))}
        arrays |= {f"{name}.bias_{w}_l0": np.zeros(18) for w in ("ih", "hh")} if bias else {}
    np.savez(path, **arrays)
    return path


def test_inspection(tmp_path):
    document = follows(inspection_document(read_checkpoint(checkpoint(tmp_path / "m.npz", ("a", "b")))))
    assert [x["layer"] for x in document["layers"]] == ["a", "b"]
    assert document["other_tensors"]


def test_documents_of_the_command_line(tmp_path, capsysbinary):
    data = tmp_path / "x.csv"
    data.write_text("\n".join(f"1.5,2,{i % 5}" for i in range(30)))
    np.save(tmp_path / "g.npy", np.ones(6))
    model = str(checkpoint(tmp_path / "m.npz"))
    size = ["--steps", "20", "--lags", "4"]
    for line in (
        ["analyze", "--cell", "lstm", "--hidden", "6", "--set", "forget_bias=1", *size],
        ["analyze", "--cell", "gru", "--hidden", "6", "--bidirectional", *size],
        ["analyze", "--cell", "rnn", "--hidden", "6", "--loss-gradient", str(tmp_path / "g.npy"), *size],
        ["analyze", model, "--data", str(data), "--columns", "0,1,2", "--nan", "zero", "--delimiter", ",", *size],
        ["analyze", model, "--layer", "rnn", "--gate-order", "rzn", *size],
        ["analyze", model, "--reproducible", *size],
        ["analyze", model, "--remedies", *size],
        ["compare", "rnn", "gru:update_bias=1", model, "--hidden", "6", "--input-size", "3", *size],
        ["inspect", model],
        ["check-cell", "gru", "--set", "update_bias=1"],
        ["check-cell", "gru", "--set", "reset=before"],
        ["check-cell", str(EXAMPLES / "drip.py")],
        ["check-cell", str(EXAMPLES / "tiring.py")],
    ):
        with pytest.raises(SystemExit) as stop:
            main([*line, "--json"])
        out, err = capsysbinary.readouterr()
        assert (stop.value.code, err) == (0, b"")
        document = follows(json.loads(out))
        missing = set(document["config"]) - set(SCHEMA["$defs"]["config"]["properties"])
        assert not missing
        assert ("run" in document) == ("--reproducible" not in line and line[0] not in ("inspect", "check-cell"))


def test_the_schema_is_strict():
    document = json.loads(gradscope.analyze(gradscope.create("gru", **SIZES), **QUICK).to_json())
    assert not list(validator("analysis").iter_errors(document))
    for change in (
        {"surprise": 1},
        {"kind": "comparison"},
        {"schema_version": "2.0"},
        {"metrics": {**document["metrics"], "rate": "fast"}},
        {"verdict": {**document["verdict"], "state": "fine"}},
    ):
        assert list(validator("analysis").iter_errors(document | change)), change


@pytest.mark.parametrize("kind", KINDS)
def test_schema_of_one_kind(kind, capsysbinary):
    with pytest.raises(SystemExit) as stop:
        main(["schema", kind])
    assert stop.value.code == 0
    schema = json.loads(capsysbinary.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$ref"] == f"#/$defs/{kind}"
    assert list(jsonschema.Draft202012Validator(schema).iter_errors({"kind": kind}))


def test_schema_of_an_unknown_kind(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["schema", "analisys"])
    assert stop.value.code == 2
    assert "did you mean analysis?" in capsys.readouterr().err
