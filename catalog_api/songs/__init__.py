"""Songs: compositions with all their versions."""
