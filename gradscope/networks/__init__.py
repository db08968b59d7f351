"""What the author of a cell imports: kinds of cell, gates, formulas, and what puts cells together.

    >>> from gradscope.networks import Gate, OneMapCell, Partials

`docs/howto/write-a-cell.md` shows a complete cell.
"""

from gradscope.maps.jacobian import Array, Dense
from gradscope.networks.cell import Cell, DenseCell, MapsCell, OneMapCell, cell_class
from gradscope.networks.complex_diagonal import ComplexDiagonal
from gradscope.networks.elementwise import (
    ACTIVATIONS,
    drelu,
    dsigmoid,
    dtanh,
    log_sigmoid,
    relu,
    sigmoid,
    softplus,
    tanh,
)
from gradscope.networks.formulas import Partials, Parts, Preactivations
from gradscope.networks.gate import Gate
from gradscope.networks.loop import closed_loop
from gradscope.networks.map import Map
from gradscope.networks.network import Network, Property
from gradscope.networks.norm import Norm
from gradscope.networks.product import Product
from gradscope.networks.stack import stack

__all__ = [
    "ACTIVATIONS",
    "Array",
    "Cell",
    "ComplexDiagonal",
    "Dense",
    "DenseCell",
    "Gate",
    "Map",
    "MapsCell",
    "Network",
    "Norm",
    "OneMapCell",
    "Partials",
    "Parts",
    "Preactivations",
    "Product",
    "Property",
    "cell_class",
    "closed_loop",
    "drelu",
    "dsigmoid",
    "dtanh",
    "log_sigmoid",
    "relu",
    "sigmoid",
    "softplus",
    "stack",
    "tanh",
]
