"""Gold annotations as text: hops → sub-questions and statements that read as English."""
