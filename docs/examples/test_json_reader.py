"""The test of the package that brings the reader."""

import json

import json_reader

from gradscope.testing import check_reader


def test_the_reader_keeps_the_contract(tmp_path):
    path = tmp_path / "model.weights.json"
    path.write_text(json.dumps({"weight_ih_l0": [[0.5], [1.0]], "weight_hh_l0": [[0.1, 0.2], [0.3, 0.4]]}))
    check_reader(json_reader, path)
