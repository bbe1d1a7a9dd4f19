"""Two sample sites on loopback: «Песенник» (server-rendered) and "Fonoteka" (rendered by its own JavaScript)."""
