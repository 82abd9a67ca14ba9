"""What `Data` is made of: columns of rows, their splits, weights and labels, and the files they lie in."""
