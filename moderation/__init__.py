"""Review cases, approval policy, decisions: what automation may do, and what people decide."""
