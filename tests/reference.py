"""Slow truths: textbook equations and naive products, one sequence and one step at a time.

Nothing here comes from the package. Parameters are dicts with W, U, b_ih, b_hh (and W_hr); the rows of the
weights are gates in PyTorch's order: i f g o for the LSTM, r z n for the GRU.
"""

import mpmath
import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def relu(a):
    return np.where(np.real(a) > 0, a, 0)


def gates(p, x, h, count):
    """Return the input's and the state's part of each gate's pre-activation."""
    v, a = p["W"] @ x + p["b_ih"], p["U"] @ h + p["b_hh"]
    size = len(v) // count
    return [v[k * size : (k + 1) * size] for k in range(count)], [a[k * size : (k + 1) * size] for k in range(count)]


def step(kind, p, x, s):
    """Return the next state."""
    return STEPS[kind](p, x, s)


def linear_step(p, x, h):
    return p["W"] @ x + p["b_ih"] + p["U"] @ h + p["b_hh"]


def tanh_step(p, x, h):
    return np.tanh(linear_step(p, x, h))


def relu_step(p, x, h):
    return relu(linear_step(p, x, h))


def lstm_step(p, x, s):
    width = len(p["U"]) // 4
    h, c = s[:-width], s[-width:]
    v, a = gates(p, x, h, 4)
    i, f, o = (sigmoid(v[k] + a[k]) for k in (0, 1, 3))
    c = f * c + i * np.tanh(v[2] + a[2])
    h = o * np.tanh(c)
    return np.concatenate([p["W_hr"] @ h if "W_hr" in p else h, c])


def gru_step(p, x, h):
    v, a = gates(p, x, h, 3)
    r, z = sigmoid(v[0] + a[0]), sigmoid(v[1] + a[1])
    return (1 - z) * np.tanh(v[2] + r * a[2]) + z * h


def gru_before_step(p, x, h):
    v, a = gates(p, x, h, 3)
    r, z = sigmoid(v[0] + a[0]), sigmoid(v[1] + a[1])
    k = 2 * len(h)
    return (1 - z) * np.tanh(v[2] + p["U"][k:] @ (r * h) + p["b_hh"][k:]) + z * h


STEPS = {
    "linear": linear_step,
    "tanh": tanh_step,
    "relu": relu_step,
    "lstm": lstm_step,
    "gru": gru_step,
    "gru before": gru_before_step,
}


def stack_step(kind, layers, x, s):
    """Return the next state of layers that feed one another; s is all their states, bottom first."""
    size = len(s) // len(layers)
    new = []
    for k, p in enumerate(layers):
        new.append(step(kind, p, x, s[k * size : (k + 1) * size]))
        x = new[-1][: p["U"].shape[1]]
    return np.concatenate(new)


def run(advance, xs, s):
    """Return s_0, ..., s_T."""
    states = [s]
    for x in xs:
        states.append(advance(x, states[-1]))
    return states


def backpropagate(kind, p, xs, s, direct):
    """Backpropagation through time, written out.

    `direct` is (T, H): what the loss adds to dL/dh_t at t = 1, ..., T. Returns dL/ds_t for t = 0, ..., T with
    the parts of s_t as independent inputs of the rest; for the LSTM also the total derivative in c_t.
    """
    states = run(lambda x, old: step(kind, p, x, old), xs, s)
    back = {"lstm": back_lstm, "gru": back_gru, "gru before": back_gru_before}.get(kind, back_rnn(kind))
    steps, width = direct.shape
    u = np.zeros(len(s))
    found = [None] * (steps + 1)
    totals = [None] * (steps + 1)
    for t in range(steps, 0, -1):
        u[:width] += direct[t - 1]
        found[t] = u.copy()
        u, totals[t] = back(p, xs[t - 1], states[t - 1], u)
    found[0] = u
    return found, totals


def back_rnn(kind):
    slope = {"tanh": lambda a: 1 - np.tanh(a) ** 2, "relu": lambda a: (a > 0) * 1.0, "linear": np.ones_like}

    def back(p, x, h, u):
        return p["U"].T @ (u * slope[kind](linear_step(p, x, h))), None

    return back


def back_lstm(p, x, s, u):
    width = len(p["U"]) // 4
    h, c_old = s[:-width], s[-width:]
    v, a = gates(p, x, h, 4)
    i, f, o = (sigmoid(v[k] + a[k]) for k in (0, 1, 3))
    g = np.tanh(v[2] + a[2])
    c = f * c_old + i * g
    uh, uc = u[:-width], u[-width:]
    um = p["W_hr"].T @ uh if "W_hr" in p else uh
    do = um * np.tanh(c)
    dc = uc + um * o * (1 - np.tanh(c) ** 2)
    da = [dc * g * i * (1 - i), dc * c_old * f * (1 - f), dc * i * (1 - g**2), do * o * (1 - o)]
    return np.concatenate([p["U"].T @ np.concatenate(da), dc * f]), dc


def back_gru(p, x, h, u):
    size = len(h)
    v, a = gates(p, x, h, 3)
    r, z = sigmoid(v[0] + a[0]), sigmoid(v[1] + a[1])
    n = np.tanh(v[2] + r * a[2])
    dz = u * (h - n) * z * (1 - z)
    dn = u * (1 - z) * (1 - n**2)
    dr = dn * a[2] * r * (1 - r)
    U = p["U"]
    return u * z + U[:size].T @ dr + U[size : 2 * size].T @ dz + U[2 * size :].T @ (dn * r), None


def back_gru_before(p, x, h, u):
    size = len(h)
    v, a = gates(p, x, h, 3)
    U, b = p["U"], p["b_hh"]
    r, z = sigmoid(v[0] + a[0]), sigmoid(v[1] + a[1])
    n = np.tanh(v[2] + U[2 * size :] @ (r * h) + b[2 * size :])
    dz = u * (h - n) * z * (1 - z)
    dn = u * (1 - z) * (1 - n**2)
    dq = U[2 * size :].T @ dn  # q = r h
    return u * z + r * dq + U[:size].T @ (dq * h * r * (1 - r)) + U[size : 2 * size].T @ dz, None


def jacobian(advance, x, s):
    """Return ds'/ds by complex steps, one column at a time."""
    h = 1e-30
    return np.stack([np.imag(advance(x.astype(complex), s + 1j * h * e)) / h for e in np.eye(len(s))], axis=1)


def product(jacobians):
    """Return J[T-1] ... J[1] J[0], by loops over indices."""
    n = len(jacobians[0])
    P = [[float(i == j) for j in range(n)] for i in range(n)]
    for J in jacobians:
        P = [[sum(J[i][k] * P[k][j] for k in range(n)) for j in range(n)] for i in range(n)]
    return np.array(P)


def exact_product(jacobians, digits):
    """Return J[T-1] ... J[0] as an mpmath matrix with so many digits."""
    mpmath.mp.dps = digits
    product = mpmath.eye(jacobians.shape[-1])
    for J in jacobians:
        product = mpmath.matrix(J.tolist()) * product
    return product


def exact_log_singular(jacobians, digits):
    """Return natural logs of all singular values of the product, largest first."""
    values = mpmath.svd_r(exact_product(jacobians, digits), compute_uv=False)
    return np.sort([float(mpmath.log(x)) for x in values])[::-1]


def exact_log_eigenvalues(jacobians, digits):
    """Return natural logs of the moduli of all eigenvalues of the product, largest first."""
    values = mpmath.eig(exact_product(jacobians, digits), left=False, right=False)
    return np.sort([float(mpmath.log(abs(x))) for x in values])[::-1]


def householder_growth(jacobians, frame):
    """Return log|diag R| of every step, (T, k): a QR decomposition at each, and nothing clever."""
    grown = []
    for J in jacobians:
        frame, R = np.linalg.qr(J @ frame)
        grown.append(np.log(np.abs(np.diag(R))))
    return np.array(grown)
