"""What a trace says, in words: steps, and the records that they name, as the tools of the field write them."""
