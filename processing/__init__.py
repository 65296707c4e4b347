"""Arrays in, arrays out: one stage of the data's way a file."""
