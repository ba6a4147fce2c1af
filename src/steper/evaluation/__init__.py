"""Scores equal to the official ones, recall per step, intervals and paired tests."""
