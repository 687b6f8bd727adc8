"""Models without downloads and what to run them on: synthetic checkpoints, an exact one, sets of inputs."""
