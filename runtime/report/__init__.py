"""The run report as one HTML file: nothing in it is loaded from elsewhere."""

from runtime.report.page import render

__all__ = ["render"]
