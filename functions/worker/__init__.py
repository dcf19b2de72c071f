"""The function `worker`: it claims jobs, runs the model over their texts, and stores the results."""
