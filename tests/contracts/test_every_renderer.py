"""What every renderer promises, whatever the report: the public check, on the sample reports."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from gradscope import plugins
from gradscope.testing import check_renderer

spec = importlib.util.spec_from_file_location("render_samples", Path(__file__).parents[1] / "render" / "samples.py")
assert spec and spec.loader
samples = sys.modules.setdefault("render_samples", importlib.util.module_from_spec(spec))
spec.loader.exec_module(samples)


@pytest.mark.parametrize("sample", samples.ALL)
@pytest.mark.parametrize("name", plugins.names("render"))
def test_samples(name, sample):
    check_renderer(plugins.load("render", name), [samples.ALL[sample]()])


@pytest.mark.parametrize("name", [n for n in plugins.names("render") if n not in ("pdf", "png", "svg")])
def test_examples_of_the_check(name):
    """Pictures of real reports have tests of their own, and take seconds."""
    check_renderer(plugins.load("render", name))
