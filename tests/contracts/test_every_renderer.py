"""What every renderer promises, whatever the report."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from gradscope import plugins

spec = importlib.util.spec_from_file_location("render_samples", Path(__file__).parents[1] / "render" / "samples.py")
assert spec and spec.loader
samples = sys.modules.setdefault("render_samples", importlib.util.module_from_spec(spec))
spec.loader.exec_module(samples)


# A picture has neither a width in columns nor a date: those options are for the others.
PICTURES = ("png", "svg", "pdf")
TERMINAL = {"width": 40, "reproducible": True}
CASES = [pytest.param(n, {}, id=f"{n}-pipe") for n in plugins.names("render")]
CASES += [pytest.param(n, TERMINAL, id=f"{n}-terminal") for n in plugins.names("render") if n not in PICTURES]


@pytest.fixture(params=plugins.names("render"))
def renderer(request):
    return plugins.load("render", request.param)


@pytest.mark.parametrize("sample", samples.ALL)
@pytest.mark.parametrize(("name", "options"), CASES)
def test_output_is_of_its_kind_and_repeats(name, sample, options):
    renderer = plugins.load("render", name)
    report = samples.ALL[sample]()
    found = renderer.render(report, **options)
    assert isinstance(found, bytes if renderer.BINARY else str)
    assert found == renderer.render(samples.ALL[sample](), **options)
    if isinstance(found, str):
        assert found.endswith("\n")
        assert not found.endswith("\n\n")
        found.encode("utf-8")
        assert not {c for c in found if not c.isprintable()} - {"\n", "\t"}


def test_renders_in_colour_and_describes_itself(renderer):
    assert renderer.render(samples.analysis(), width=80, color=True)
    assert (renderer.__doc__ or "").split("\n")[0].endswith(".")


def test_a_renderer_does_not_change_the_report(renderer):
    report = samples.analysis()
    renderer.render(report, reproducible=True)
    assert report == samples.analysis()
