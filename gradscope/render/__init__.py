"""Renderers: one file a format, each a pure function of a report."""
