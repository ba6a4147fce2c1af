"""Run folders as one static HTML page."""

from steper.report.gather import ReportSettings
from steper.report.page import render, write_report

__all__ = ["ReportSettings", "render", "write_report"]
