"""The simulation's engine: Lambda, its queue and its warm-ups. The engine knows no strategy by name."""
