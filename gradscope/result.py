"""What an analysis gives back: a document that can be read, drawn and saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gradscope import plugins
from gradscope.errors import InputError, UsageError
from gradscope.report.model import Report
from gradscope.report.present import from_document

__all__ = ["Result"]


class Result:
    """What was found, as a document that can be saved, drawn and read again.

    Attributes:
        document: the JSON document; `gradscope schema` says what each field means.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    @property
    def verdict(self) -> dict[str, Any]:
        """State, sentence and findings."""
        return dict(self.document["verdict"])

    @property
    def metrics(self) -> dict[str, Any]:
        """Single numbers; rates in nats per step."""
        return dict(self.document["metrics"])

    @property
    def series(self) -> dict[str, Any]:
        """Numbers by time step and by lag; magnitudes as log10."""
        return dict(self.document["series"])

    @property
    def report(self) -> Report:
        """The result as sentences, tables and panels."""
        return from_document(self.document)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document."""
        return self.document

    def to_json(self) -> str:
        """Return the document as strict JSON with one trailing newline."""
        return str(self.render("json"))

    def render(self, name: str, **options: Any) -> str | bytes:
        """Return the result in a format of the render room ("text", "md", "png", ...).

        Raises:
            UsageError: there is no such format.
        """
        rendered: str | bytes = plugins.load("render", name).render(self.report, **options)
        return rendered

    def save(self, path: str | Path) -> None:
        """Write the result in the format of the suffix, such as .json, .tsv or .png, replacing what is there.

        Raises:
            UsageError: there is no such format; the hint lists them.
        """
        path = Path(path)
        content = self.render(path.suffix.lstrip(".").lower() or "json")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def plot(self, path: str | Path) -> None:
        """Write the picture, in the format of the suffix, such as .png, .svg or .pdf.

        Raises:
            UsageError: the suffix is not that of a picture.
        """
        name = Path(path).suffix.lstrip(".").lower()
        if name in plugins.names("render") and not plugins.outline("render", name).constants.get("PICTURE"):
            raise UsageError(f".{name} is no format of a picture", f"plot writes .{', .'.join(plugins.pictures())}")
        self.save(path)

    @classmethod
    def read(cls, path: str | Path) -> Result:
        """Read a result that was saved as JSON.

        Raises:
            InputError: the file is not one.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"cannot read a result from {path}: {error}") from error
        from_document(document)  # refuses what it cannot present
        return cls(document)

    def __repr__(self) -> str:
        return str(self.document["verdict"]["sentence"])

    def _repr_markdown_(self) -> str:
        return str(self.render("md"))
