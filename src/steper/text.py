"""Small text functions that more than one stage needs."""
