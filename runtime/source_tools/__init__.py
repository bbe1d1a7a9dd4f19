"""Making, recording and testing sources: what `versions source new`, `record` and `test` do."""
