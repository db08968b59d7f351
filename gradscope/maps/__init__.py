"""The linear maps that make up the derivative of a recurrent step, for authors of cells and of analyses.

`Linear` says what any of them can do: J v, J^T u, the matrix, the paths. `Jacobian` is the structured one,
J = through . U + around; `Dense` is a matrix; the others put several together.
"""

from gradscope.maps.composition import Composite, Looped
from gradscope.maps.dense import Dense
from gradscope.maps.grid import Array, Grid, Grids
from gradscope.maps.jacobian import Jacobian
from gradscope.maps.linear import Linear, PathShares
from gradscope.maps.stacked import Normed, Stacked

__all__ = [
    "Array",
    "Composite",
    "Dense",
    "Grid",
    "Jacobian",
    "Linear",
    "Looped",
    "Normed",
    "Grids",
    "PathShares",
    "Stacked",
]
