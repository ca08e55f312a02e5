"""The report: one page to look at a dataset, and to judge it."""

from .write import ReportUnavailable, write_report

__all__ = ["ReportUnavailable", "write_report"]
