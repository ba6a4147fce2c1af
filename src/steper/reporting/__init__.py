"""Run folders as one static HTML page."""

from steper.reporting.contents import ReportSettings
from steper.reporting.page import render, write_report

__all__ = ["ReportSettings", "render", "write_report"]
