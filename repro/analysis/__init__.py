"""From records to numbers, intervals and verdicts: pure functions, no torch, no drawing."""
