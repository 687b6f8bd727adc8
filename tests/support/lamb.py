"""LAMB as Google Research has it."""

import numpy as np


def lamb_oracle(param, m, v, grad, *, lr, wd, adapt, betas=(0.9, 0.999), eps=1e-6, t=None):
    """lamb_optimizer.py's apply_gradients for one variable, as formulas; t counts updates where bias is corrected."""
    m = betas[0] * m + (1.0 - betas[0]) * grad
    v = betas[1] * v + (1.0 - betas[1]) * np.square(grad)
    m_hat, v_hat = (m, v) if t is None else (m / (1 - betas[0] ** t), v / (1 - betas[1] ** t))
    update = m_hat / (np.sqrt(v_hat) + eps) + wd * param
    w_norm, g_norm = np.linalg.norm(param.ravel(), 2), np.linalg.norm(update.ravel(), 2)
    ratio = np.where(w_norm > 0, np.where(g_norm > 0, w_norm / g_norm, 1.0), 1.0) if adapt else 1.0
    return param - ratio * lr * update, m, v
