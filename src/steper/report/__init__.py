"""Run folders as one static HTML page."""

from steper.report.page import ReportSettings, render, write_report

__all__ = ["ReportSettings", "render", "write_report"]
