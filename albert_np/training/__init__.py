"""Training: gradients through the model, data, optimizers and loops. Nothing here is imported by inference."""
