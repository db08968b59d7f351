"""What was measured of which model: all that a verdict, and the sections beside their own answers, look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gradscope.report.strict import place

if TYPE_CHECKING:
    from gradscope.analysis.reach import Reach
    from gradscope.settings import Settings

Document = dict[str, Any]
WITHOUT_WEIGHTS = ("jacobians", "function")  # kinds of model of which no change is known
NO_MODEL: Document = {"source": "python", "cell": "", "hidden_size": 0}


@dataclass(frozen=True)
class Request:
    """How a model was asked for on the command line: what a suggested command repeats.

    Attributes:
        target: what `gradscope compare` calls the model, without its settings: "gru", "runs/model.pt"; "" where it has
            no name there, as one that came through a pipe.
        settings: the options, as given.
        sizes: `hidden` and `input_size` that the file of a function fixes, for a cell beside it.
        others: settings of the cells that were measured beside it in the same command.
    """

    target: str
    settings: Settings
    sizes: Mapping[str, int] = field(default_factory=dict)
    others: tuple[Settings, ...] = ()


@dataclass(frozen=True)
class Case:
    """Answers, and the model that they are about.

    Attributes:
        answers: {analysis: what it answered}; one that was not asked or does not apply is not there.
        name: the model in words, "GRU, 128 units, 200 steps, seed 0".
        model: the document's `model`.
        config: the document's `config`.
        keep_gates: {gate: what it is called} of the gates that keep old state when open.
        forget_gates: {gate: what it is called} of the gates that let go of old state when open.
        path_kinds: whether any of the gradient goes around recurrent weights, and whether any crosses such; None:
            unknown.
        state: the verdict's state, once it is known.
        request: how the model was asked for; None where no command did.
    """

    answers: Mapping[str, Any]
    name: str = ""
    model: Document = field(default_factory=lambda: NO_MODEL)
    config: Document = field(default_factory=dict)
    keep_gates: Mapping[str, str] = field(default_factory=dict)
    forget_gates: Mapping[str, str] = field(default_factory=dict)
    path_kinds: tuple[bool, bool] | None = None
    state: str = ""
    request: Request | None = None

    @property
    def reach(self) -> Reach:
        """How far the gradient of the last step's loss reaches."""
        reach: Reach = self.answers["reach"]
        return reach

    @property
    def nonfinite(self) -> tuple[str, ...]:
        """Sentences that say where values stop being finite."""
        return tuple(place(r) for r in self.answers.get("finite", ()))

    @property
    def zero_from(self) -> int | None:
        """Smallest lag at which the gradient is exactly zero; None also where something is not finite."""
        return None if self.nonfinite else self.reach.zero_from

    @property
    def sampled(self) -> bool:
        """Whether the weights were drawn here, so that options for drawing them can be advised."""
        return bool(self.model["source"] == "init")

    @property
    def measurable(self) -> bool:
        """Whether --remedies would tell more: not where it was given, or no change of the model is known."""
        function = self.model["cell"] in WITHOUT_WEIGHTS or (self.model["source"] == "python" and "path" in self.model)
        return not self.config.get("remedies") and not function

    @property
    def dtype(self) -> str:
        """Precision of the Jacobians."""
        return str(self.config.get("dtype", "float64"))

    @property
    def warmup(self) -> int | None:
        """Steps that were run before the first that is measured; None where there is no state to start from."""
        return None if self.model["cell"] == "jacobians" else int(self.config.get("warmup", 0))
