"""Same recording? Same song? Two questions, answered apart, each with an itemised distance."""
