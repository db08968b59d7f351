"""The rules that `gradscope.testing.check_cell` holds a cell to."""
