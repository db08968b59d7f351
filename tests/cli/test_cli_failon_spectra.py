"""--fail-on with what spectra measure."""

GRU = ("analyze", "--cell", "gru", "--hidden", "8", "--steps", "40")


def test_exponents_can_be_asked_for(run):
    assert run(*GRU, "--fail-on", "lyapunov_1 > 0").code == 0
    assert run(*GRU, "--fail-on", "lyapunov_1 < 0 and product_condition < 1e6").code == 3


def test_what_is_left_out_cannot_hold(refused):
    refused(2, ["lyapunov_1", "--lags 0 does not measure"], *GRU, "--lags", "0", "--fail-on", "lyapunov_1 > 0")
    refused(2, "names no metric", *GRU, "--fail-on", "5 > 3")
    refused(2, "compares single numbers", *GRU, "--fail-on", "underflow_lag.float16 < 40")


def test_what_was_not_measured_is_said(run):
    done = run("analyze", "--cell", "linear", "--hidden", "8", "--steps", "40", "--fail-on", "around_share < 0.5")
    assert done.code == 0
    assert "around_share: not measured, or not determined, for linear" in done.err
