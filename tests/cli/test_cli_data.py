"""--data: files that fit, files that do not, and what is said of each."""

import json

import numpy as np
import pytest

RNG = np.random.default_rng(0)


@pytest.fixture
def save(tmp_path):
    def write(name, content):
        path = tmp_path / name
        if isinstance(content, np.ndarray):
            np.save(path, content, allow_pickle=True)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def table(rows=30, columns=3, separator=",", head=""):
    lines = [separator.join(f"{x:.3f}" for x in RNG.standard_normal(columns)) for _ in range(rows)]
    return "\n".join([head, *lines] if head else lines) + "\n"


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (RNG.standard_normal((30, 5)), ["5", "3"]),
        (RNG.standard_normal((3, 30)), ["30", "3", "transpose"]),
        (RNG.standard_normal(30), ["input size is 3"]),
        (RNG.standard_normal((2, 30, 3, 1)), ["4 axes"]),
        (RNG.integers(0, 9, (2, 30)), ["needs their embeddings", "--embedding"]),
        (np.zeros((0, 3)), ["is empty"]),
        (RNG.standard_normal((30, 3)) + 1j, ["complex"]),
        (np.array([1, "a", None], dtype=object), ["object array"]),
    ],
    ids=["width", "transposed", "one-axis", "four-axes", "tokens", "nothing", "complex", "objects"],
)
def test_arrays_that_do_not_fit(refused, save, checkpoint, array, words):
    refused(4, words, "analyze", checkpoint(), "--data", save("x.npy", array))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.csv", "", "empty"),
        ("x.csv", "a,b,c\n", ""),
        ("x.csv", "1,2,3\n4,5\n", "line 2"),
        ("x.csv", "t,a,b,c\n" + "2024-01-01,1,2,3\n" * 3, "--columns"),
        (
            "x.npy",
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1125899906842624,), }",
            "",
        ),
        ("x.parquet", b"PAR1\x15" + bytes(50), "Parquet"),
        ("x.npy", b"<!doctype html>", "HTML"),
        ("x.xyz", "hello", "supported: "),
    ],
    ids=["empty", "header-only", "ragged", "dates", "8-pebibytes", "parquet", "html", "unknown"],
)
def test_files_that_cannot_be_read(refused, save, checkpoint, name, content, words):
    refused(4, words, "analyze", checkpoint(), "--data", save(name, content))


def test_missing_file(refused, save, checkpoint):
    save("batch.npy", np.ones((30, 3)))
    refused(
        4, ["no file", "did you mean batch.npy?"], "analyze", checkpoint(), "--data", checkpoint().parent / "bach.npy"
    )


@pytest.mark.parametrize(
    "content",
    [
        table(),
        table(head="a,b,c"),
        "\ufeff" + table(head="a,b,c").replace("\n", "\r\n"),
        table(separator=";").replace(".", ","),
        table(separator="\t"),
    ],
    ids=["plain", "header", "bom-crlf", "german", "tabs"],
)
def test_tables(run, save, checkpoint, content):
    done = run("analyze", checkpoint(), "--data", save("x.csv", content), "--lags", "4")
    assert (done.code, done.err) == (0, "")
    assert "30 steps" in done.out


@pytest.mark.parametrize("dtype", [">f8", "<f4", "<f2", "F"])
def test_numbers_as_they_may_be_stored(run, save, checkpoint, dtype):
    x = RNG.standard_normal((30, 3))
    x = np.asfortranarray(x) if dtype == "F" else x.astype(dtype)
    assert run("analyze", checkpoint(), "--data", save("x.npy", x), "--lags", "4").code == 0


def test_columns_by_name(run, refused, save, checkpoint):
    path = save("x.csv", table(columns=4, head="a,b,c,d"))
    assert run("analyze", checkpoint(), "--data", path, "--columns", "a,c,d", "--lags", "4").code == 0
    refused(2, "no column 'e'", "analyze", checkpoint(), "--data", path, "--columns", "a,c,e")


def test_one_series(run, save):
    path = save("x.npy", RNG.standard_normal(30))
    done = run("analyze", "--cell", "gru", "--hidden", "8", "--lags", "4", "--data", path)
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(("layout", "steps"), [("btf", 5), ("tbf", 30)])
def test_layout(run, save, checkpoint, layout, steps):
    path = save("x.npy", RNG.standard_normal((30, 5, 3)))
    done = run("analyze", checkpoint(), "--data", path, "--layout", layout, "--lags", "4", "--json")
    assert json.loads(done.out)["config"]["steps"] == steps


def test_one_step(run, save, checkpoint):
    done = run("analyze", checkpoint(), "--data", save("x.npy", np.ones((1, 3))), "--lags", "4")
    assert done.code == 0
    assert "INCONCLUSIVE" in done.out
    assert "too few to fit a rate" in done.out


def test_not_finite(run, refused, save, checkpoint):
    x = RNG.standard_normal((30, 3))
    x[4, 1] = np.nan
    line = ("analyze", checkpoint(), "--data", save("x.npy", x), "--lags", "4")
    kept = run(*line)
    assert kept.code == 0
    assert "NONFINITE" in kept.out
    assert "step 4, column 1" in kept.out
    assert "29 steps" in run(*line, "--nan", "drop").out
    assert run(*line, "--nan", "zero").out.startswith("VANISHING")
    refused(4, ["1 nan", "step 4, column 1", "--nan drop"], *line, "--nan", "error")


def test_no_drive(run, save, checkpoint):
    for source in (["--data", save("x.npy", np.zeros((30, 3)))], ["--drive", "zeros", "--steps", "20"]):
        done = run("analyze", checkpoint(), *source, "--lags", "4", "--json")
        codes = [w["code"] for w in json.loads(done.out)["warnings"]]
        assert any("DRIVE" in c or "CONSTANT" in c for c in codes), codes


def test_fewer_than_asked_for(run, save, checkpoint):
    path = save("x.npy", RNG.standard_normal((30, 3)))
    done = run("analyze", checkpoint(), "--data", path, "--steps", "100", "--lags", "4")
    assert done.code == 0
    assert "--steps 100 ignored" in done.out


def test_dry_run_knows_the_length(run, save, checkpoint):
    path = save("x.npy", RNG.standard_normal((2, 30, 3)))
    assert "30 steps with warm-up, 2 sequences" in run("analyze", checkpoint(), "--data", path, "--dry-run").out


def test_own_loss_gradient(run, refused, save, quick):
    line = ("analyze", "--cell", "gru", *quick, "--loss-gradient")
    assert run(*line, save("g.npy", np.ones(8))).code == 0
    refused(4, "", *line, save("g.npy", np.ones(7)))
    refused(4, "nan", *line, save("g.npy", np.full(8, np.nan)))
    refused(4, ".npy", *line, save("g.csv", "1,2"))


def test_a_backward_direction_warms_up_at_the_end_of_the_data(run, tmp_path):
    """A loss at the first step of the data is one at the last measured step of the backward direction."""

    rng = np.random.default_rng(0)
    arrays = {}
    for suffix in ("", "_reverse"):
        arrays[f"r.weight_ih_l0{suffix}"] = rng.normal(size=(12, 2))
        arrays[f"r.weight_hh_l0{suffix}"] = rng.normal(size=(12, 4)) / 2
    np.savez(tmp_path / "m.npz", **arrays)
    np.save(tmp_path / "x.npy", rng.normal(size=(3, 40, 2)))
    gradient = np.zeros((3, 40, 4))
    gradient[:, 0] = rng.normal(size=(3, 4))
    np.save(tmp_path / "g.npy", gradient)
    np.save(tmp_path / "last.npy", gradient[:, 0])
    found = []
    for name in ("g.npy", "last.npy"):
        done = run(
            *("analyze", tmp_path / "m.npz", "--layer", "r.reverse", "--data", tmp_path / "x.npy", "--json"),
            *("--loss-gradient", tmp_path / name, "--warmup", "10", "--lags", "0"),
        )
        assert done.code == 0, done.err
        found.append(json.loads(done.out)["series"]["log10_gradient_norm"])
    assert found[0] == found[1]
    assert len(found[0]["h"]["median"]) == 31


def test_tokens_in_a_column_and_time_first(run, tmp_path):

    rng = np.random.default_rng(0)
    arrays = {"emb.weight": rng.normal(size=(9, 2)), "r.weight_ih_l0": rng.normal(size=(12, 2))}
    np.savez(tmp_path / "m.npz", **arrays, **{"r.weight_hh_l0": rng.normal(size=(12, 4)) / 2})
    tokens = rng.integers(0, 9, (30, 4))
    np.savetxt(tmp_path / "column.csv", tokens[:, 0], fmt="%d")
    np.save(tmp_path / "tbf.npy", tokens)
    line = ("analyze", tmp_path / "m.npz", "--embedding", "emb", "--lags", "0", "--json", "--data")
    config = json.loads(run(*line, tmp_path / "column.csv").out)["config"]
    assert (config["batch"], config["steps"]) == (1, 30)
    config = json.loads(run(*line, tmp_path / "tbf.npy", "--layout", "tbf").out)["config"]
    assert (config["batch"], config["steps"]) == (4, 30)
    warnings = json.loads(run(*line, tmp_path / "tbf.npy").out)["warnings"]
    assert [w["code"] for w in warnings if w["code"] == "GS-LAYOUT"] == ["GS-LAYOUT"]
