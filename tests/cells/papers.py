"""The recurrences of the papers, in the papers' letters: complex numbers, sums over the past, raw exponential gates.

Nothing here comes from the package. `p` holds a cell's arrays and settings under its own names; a function takes
them, the inputs (T, m) and the start (n,), and returns the states after each step, (T, n).
"""

import numpy as np
from scipy.linalg import expm


def sigma(a):
    return 1 / (1 + np.exp(-a))


def rows(array, count):
    return np.split(array, count)


def stepping(step):
    """Turn a step (p, x, state) -> state into a whole run."""

    def walk(p, xs, s):
        states = []
        for x in xs:
            s = np.concatenate(step(p, x, s))
            states.append(s)
        return np.array(states)

    return walk


def affine(p, x, h, count):
    """Return W x + U h + b for each of so many gates."""
    return rows(p.W @ x + p.b_ih + p.U @ h + p.b_hh, count)


@stepping
def rnn(p, x, h):
    (a,) = affine(p, x, h, 1)
    return ((np.tanh(a) if p.activation == "tanh" else a * (a > 0)),)


@stepping
def irnn(p, x, h):
    (a,) = affine(p, x, h, 1)
    return (a * (a > 0),)


@stepping
def linear(p, x, h):
    return affine(p, x, h, 1)


@stepping
def esn(p, x, h):
    return ((1 - p.alpha) * h + p.alpha * np.tanh(*affine(p, x, h, 1)),)


@stepping
def leaky(p, x, h):
    """Euler's step of tau dh/dt = -h + what drives it (Song et al., 2016), alpha = dt / tau."""
    if p.form == "rate":
        return (h + p.alpha * (-h + np.tanh(*affine(p, x, h, 1))),)
    return (h + p.alpha * (-h + affine(p, x, np.tanh(h), 1)[0]),)


@stepping
def indrnn(p, x, h):
    a = p.W @ x + p.u * h + p.b_ih
    return ((np.tanh(a) if p.activation == "tanh" else np.maximum(a, 0)),)


@stepping
def lstm(p, x, s):
    width = len(p.U) // 4
    h, c = s[:-width], s[-width:]
    i, f, g, o = affine(p, x, h, 4)
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    h = sigma(o) * np.tanh(c)
    return (h if p.W_hr is None else p.W_hr @ h), c


@stepping
def peephole_lstm(p, x, s):
    """Gers & Schmidhuber (2000): the output gate sees the new cell."""
    h, c = rows(s, 2)
    i, f, g, o = affine(p, x, h, 4)
    w_i, w_f, w_o = p.p
    new = sigma(f + w_f * c) * c + sigma(i + w_i * c) * np.tanh(g)
    return sigma(o + w_o * new) * np.tanh(new), new


@stepping
def cifg_lstm(p, x, s):
    h, c = rows(s, 2)
    f, g, o = affine(p, x, h, 3)
    c = sigma(f) * c + (1 - sigma(f)) * np.tanh(g)
    return sigma(o) * np.tanh(c), c


@stepping
def gru(p, x, h):
    (wr, wz, wn), (ur, uz, un) = rows(p.W @ x + p.b_ih, 3), rows(p.U, 3)
    br, bz, bn = rows(p.b_hh, 3)
    r, z = sigma(wr + ur @ h + br), sigma(wz + uz @ h + bz)
    n = np.tanh(wn + (r * (un @ h + bn) if p.reset == "after" else un @ (r * h) + bn))
    return ((1 - z) * n + z * h,)


@stepping
def mgu(p, x, h):
    """Zhou et al. (2016)."""
    (wf, wg), (uf, ug), (bf, bg) = rows(p.W @ x + p.b_ih, 2), rows(p.U, 2), rows(p.b_hh, 2)
    f = sigma(wf + uf @ h + bf)
    return ((1 - f) * h + f * np.tanh(wg + ug @ (f * h) + bg),)


@stepping
def janet(p, x, c):
    """Van der Westhuizen & Lasenby (2018): s, then what is kept and what is written."""
    s, g = affine(p, x, c, 2)
    return (sigma(s) * c + (1 - sigma(s - p.beta)) * np.tanh(g),)


@stepping
def minimal_rnn(p, x, h):
    z = np.tanh(p.W @ x + p.b_z)
    u = sigma(p.U @ h + p.U_z @ z + p.b_ih + p.b_hh)
    return (u * h + (1 - u) * z,)


@stepping
def fastgrnn(p, x, h):
    """Kusupati et al. (2018); zeta and nu pass through a sigmoid, as in their code."""
    b_z, b_h = p.b
    a = p.W @ x + p.U @ h + p.b_ih + p.b_hh
    z, candidate = sigma(a + b_z), np.tanh(a + b_h)
    return ((sigma(p.zeta) * (1 - z) + sigma(p.nu)) * candidate + z * h,)


@stepping
def ugrnn(p, x, h):
    c, g = affine(p, x, h, 2)
    return (sigma(g) * h + (1 - sigma(g)) * np.tanh(c),)


@stepping
def scrn(p, x, state):
    h, s = rows(state, 2)
    s = (1 - p.alpha) * p.B @ x + p.alpha * s
    return sigma(p.P @ s + p.W @ x + p.U @ h + p.b_ih + p.b_hh), s


@stepping
def sru(p, x, c):
    """Lei et al. (2018)."""
    (Wx, a), (b, b_f) = rows(p.W @ x, 2), rows(p.b_ih, 2)
    f = sigma(a + p.u * c + b_f)
    return (f * c + (1 - f) * (Wx + b),)


def qrnn(p, xs, c0):
    """Fo-pooling unrolled: what came in at i, times every forget gate since."""
    a, b = np.split(xs @ p.W.T + p.b_ih, 2, axis=1)
    z, f = np.tanh(a), sigma(b)
    past = lambda t, i: np.prod(f[i + 1 : t + 1], axis=0)  # noqa: E731
    return np.array(
        [past(t, -1) * c0 + sum((1 - f[i]) * z[i] * past(t, i) for i in range(t + 1)) for t in range(len(f))]
    )


def mingru(p, xs, h0):
    """Feng et al. (2024): the parallel form, by sums of logarithms."""
    k, candidate = np.split(xs @ p.W.T + p.b_ih, 2, axis=1)
    kept = np.cumsum(np.log(sigma(-k)), axis=0)  # log prod (1 - z)
    return np.exp(kept) * (h0 + np.cumsum(sigma(k) * candidate * np.exp(-kept), axis=0))


@stepping
def minlstm(p, x, h):
    i, f, candidate = rows(p.W @ x + p.b_ih, 3)
    i, f = sigma(i), sigma(f)
    return ((f * h + i * candidate) / (f + i),)


def slstm(p, xs, s):
    """Beck et al. (2024): c, n and the stabiliser m, whatever share of log n it holds."""
    h, q, log_n = rows(s, 3)
    m = np.linspace(-2, 2, len(h))
    n = np.exp(log_n - m)
    c, states = q * n, []
    for x in xs:
        i, f, z, o = affine(p, x, h, 4)
        new = np.maximum(np.log(sigma(f)) + m, i)
        i, f = np.exp(i - new), np.exp(np.log(sigma(f)) + m - new)
        c, n, m = f * c + i * np.tanh(z), f * n + i, new
        h = sigma(o) * (c / n)
        states.append(np.concatenate([h, c / n, m + np.log(n)]))
    return np.array(states)


def mlstm(p, xs, s):
    """Beck et al. (2024), head by head, with the stabiliser: C and n are those times e^m."""
    heads = p.b.shape[1]
    d = len(p.W) // 2 // heads
    runs = []
    for head, start in enumerate(rows(s, heads)):
        C, n, m, states = start[: d * d].reshape(d, d), start[d * d :], 0.0, []
        for x in xs:
            i, f = (w[head] @ x + b[head] for w, b in zip(rows(p.w, 2), p.b, strict=True))
            k, v = (z[head * d : (head + 1) * d] for z in rows(p.W @ x + p.b_ih, 2))
            k = k / np.sqrt(d)
            new = max(np.log(sigma(f)) + m, i)
            i, f = np.exp(i - new), np.exp(np.log(sigma(f)) + m - new)
            C, n, m = f * C + i * np.outer(v, k), f * n + i * k, new
            states.append(np.concatenate([C.ravel(), n]) * np.exp(m))
        runs.append(np.array(states))
    return np.concatenate(runs, axis=1)


def convolved(eigenvalues, entering, z0):
    """Return z_t = L^t z_0 + sum L^(t - i) u_i as real and imaginary parts, from the definition."""
    steps = np.arange(len(entering))
    powers = eigenvalues ** np.arange(len(entering) + 1)[:, None]
    sums = [powers[t + 1] * z0 + sum(powers[t - i] * entering[i] for i in range(t + 1)) for t in steps]
    return np.concatenate([np.real(sums), np.imag(sums)], axis=1)


def start_of(s):
    re, im = rows(s, 2)
    return re + 1j * im


def lru(p, xs, s):
    L = np.exp(-np.exp(p.nu) + 1j * np.exp(p.theta))
    re, im = rows(p.W, 2)
    b = start_of(p.b_ih)
    return convolved(L, np.sqrt(1 - np.abs(L) ** 2) * (xs @ (re + 1j * im).T + b), start_of(s))


def s4d(p, xs, s):
    """Zero-order hold by its definition: exp of [[A, B], [0, 0]] dt holds both A-bar and B-bar."""
    u = xs @ p.W.T + p.b_ih
    channels, count = p.A.shape[1:]
    L, held = np.empty((2, channels, count), complex)
    for c in range(channels):
        for n in range(count):
            A = -np.exp(p.A[0, c, n]) + 1j * p.A[1, c, n]
            both = expm(np.array([[A, 1], [0, 0]]) * np.exp(p.log_dt[c]))
            L[c, n], held[c, n] = both[0]
    entering = (held[None] * u[:, :, None]).reshape(len(u), -1)
    return convolved(L.ravel(), entering, start_of(s))


def s5(p, xs, s):
    A, dt = -np.exp(p.A[0]) + 1j * p.A[1], np.exp(p.log_dt)
    re, im = rows(p.W, 2)
    held = (np.exp(A * dt) - 1) / A
    return convolved(np.exp(A * dt), held * (xs @ (re + 1j * im).T + start_of(p.b_ih)), start_of(s))


@stepping
def rglru(p, x, h):
    """De et al. (2024), c = 8."""
    r, i, z = rows(p.W @ x + p.b_ih, 3)
    a = sigma(p.L) ** (8 * sigma(r))
    return (a * h + np.sqrt(1 - a**2) * (sigma(i) * z),)


def selective_ssm(p, xs, s):
    """Gu & Dao (2024), algorithm 2, with B-bar = delta B as in their code; channel by channel, state by state."""
    h, states = s.reshape(p.A_log.shape), []
    for x in xs:
        u = p.W @ x + p.b_ih
        delta = np.log(1 + np.exp(p.D_2 @ (p.D_1 @ u) + p.b_d))
        B = p.B @ u
        h = np.array(
            [[np.exp(-delta[d] * np.exp(p.A_log[d, n])) * h[d, n] + delta[d] * B[n] * u[d] for n in range(len(B))]
             for d in range(len(u))]
        )  # fmt: skip
        states.append(h.ravel())
    return np.array(states)


def rwkv(p, xs, s):
    """Peng et al. (2023): sums over the whole past; the start is a token of weight e^l and value q."""
    k, v = np.split(xs @ p.W.T + p.b_ih, 2, axis=1)
    (q, log_b), decay = rows(s, 2), np.exp(p.w)
    states = []
    for t in range(1, len(xs) + 1):
        weights = [np.exp(log_b - t * decay)] + [np.exp(k[i] - (t - 1 - i) * decay) for i in range(t)]
        a = sum(w * value for w, value in zip(weights, [q, *v[:t]], strict=True))
        states.append(np.concatenate([a / sum(weights), np.log(sum(weights))]))
    return np.array(states)


@stepping
def antisymmetric(p, x, h):
    M = p.U - p.U.T - p.gamma * np.eye(len(h))
    g = np.tanh(M @ h + p.W @ x + p.b_ih + p.b_hh)
    z = 1 if p.gate == "none" else sigma(M @ h + p.W_z @ x + p.b_z)
    return (h + p.epsilon * z * g,)


@stepping
def cornn(p, x, s):
    """Rusch & Mishra (2021a), as their code has it: damping by the old velocity."""
    y, z = rows(s, 2)
    force = np.tanh(p.U @ y + p.U_z @ z + p.W @ x + p.b_ih + p.b_hh)
    z = z + p.dt * (force - p.gamma * y - p.epsilon * z)
    return y + p.dt * z, z


@stepping
def unicornn(p, x, s):
    """Rusch & Mishra (2021b): symplectic Euler."""
    y, z = rows(s, 2)
    dt = p.dt * sigma(p.c)
    z = z - dt * (np.tanh(p.w * y + p.W @ x + p.b_ih) + p.alpha * y)
    return y + dt * z, z


@stepping
def lem(p, x, s):
    """Rusch et al. (2022): y sees the new z."""
    y, z = rows(s, 2)
    (w1, w2, wz, wy), (u1, u2, uz, uy) = rows(p.W @ x + p.b_ih + p.b_hh, 4), rows(p.U, 4)
    dt, dt_bar = p.dt * sigma(u1 @ y + w1), p.dt * sigma(u2 @ y + w2)
    z = (1 - dt) * z + dt * np.tanh(uz @ y + wz)
    return (1 - dt_bar) * y + dt_bar * np.tanh(uy @ z + wy), z


def exprnn(p, xs, h):
    Q, states = expm(p.A - p.A.T), []
    for x in xs:
        a = Q @ h + p.W @ x + p.b_ih
        h = np.sign(a) * np.maximum(np.abs(a) + p.b, 0)
        states.append(h)
    return np.array(states)


def nru(p, xs, s):
    """Chandar et al. (2019): memory cells written and erased by `heads` directions, each of 5-norm one."""
    width, states = len(p.W), []
    h, m = s[:width], s[width:]
    r = round((p.heads * len(m)) ** 0.5)
    for x in xs:
        h = np.maximum(p.W @ x + p.U @ h + p.U_m @ m + p.b_ih + p.b_hh, 0)
        alpha, beta, *vectors = np.split(
            p.A @ np.concatenate([h, m]) + p.c,
            np.cumsum([p.heads, p.heads, r, r, r]),
        )
        for amounts, (a, b) in ((alpha, vectors[:2]), (-beta, vectors[2:])):
            for amount, v in zip(amounts, np.outer(a, b).reshape(p.heads, -1), strict=True):
                m = m + amount * v / np.linalg.norm(v, 5) / p.heads
        states.append(np.concatenate([h, m]))
    return np.array(states)


@stepping
def ltc(p, x, h):
    """Hasani et al. (2021): dx/dt = -(1 / tau + f) x + f A, f where the step begins, x where it ends."""
    f = sigma(p.W @ x + p.U @ h + p.b_ih + p.b_hh)
    matrix = np.diag(1 + p.dt * (1 / p.tau + f))
    return (np.linalg.solve(matrix, h + p.dt * f * p.A),)


@stepping
def cfc(p, x, h):
    f, g, k = affine(p, x, h, 3)
    gate = sigma(-f * p.dt)
    return (gate * np.tanh(g) + (1 - gate) * np.tanh(k),)


def _each(**functions):
    """Return gates that are functions of W x + U h + b, h the first part of the state."""

    def gates(p, x, s):
        a = p.W @ x + p.b_ih + (0 if p.U is None else p.U @ s[: p.U.shape[1]] + p.b_hh)
        return {n: f(v) for (n, f), v in zip(functions.items(), rows(a, len(functions)), strict=True)}

    return gates


def _peephole_gates(p, x, s):
    h, c = rows(s, 2)
    (i, f, g, o), (w_i, w_f, w_o) = affine(p, x, h, 4), p.p
    new = peephole_lstm(p, [x], s)[0][len(h) :]
    return {"i": sigma(i + w_i * c), "f": sigma(f + w_f * c), "g": np.tanh(g), "o": sigma(o + w_o * new)}


def _gru_gates(p, x, h):
    (wr, wz, wn), (ur, uz, un) = rows(p.W @ x + p.b_ih, 3), rows(p.U, 3)
    br, bz, bn = rows(p.b_hh, 3)
    r, z = sigma(wr + ur @ h + br), sigma(wz + uz @ h + bz)
    return {"r": r, "z": z, "n": np.tanh(wn + (r * (un @ h + bn) if p.reset == "after" else un @ (r * h) + bn))}


def _mgu_gates(p, x, h):
    (wf, wg), (uf, ug), (bf, bg) = rows(p.W @ x + p.b_ih, 2), rows(p.U, 2), rows(p.b_hh, 2)
    f = sigma(wf + uf @ h + bf)
    return {"f": f, "g": np.tanh(wg + ug @ (f * h) + bg)}


def _minimal_gate(p, x, h):
    return {"u": sigma(p.U @ h + p.U_z @ np.tanh(p.W @ x + p.b_z) + p.b_ih + p.b_hh)}


def _sru_gates(p, x, c):
    z, f = rows(p.W @ x + p.b_ih, 2)
    return {"z": z, "f": sigma(f + p.u * c)}


def _lem_gates(p, x, s):
    (w1, w2, wz, wy), (u1, u2, uz, uy) = rows(p.W @ x + p.b_ih + p.b_hh, 4), rows(p.U, 4)
    y, z = rows(s, 2)[0], rows(lem(p, [x], s)[0], 2)[1]
    d1, d2 = p.dt * sigma(u1 @ y + w1), p.dt * sigma(u2 @ y + w2)
    return {"d1": d1, "d2": d2, "z": np.tanh(uz @ y + wz), "y": np.tanh(uy @ z + wy)}


def _cfc_gates(p, x, h):
    f, g, k = affine(p, x, h, 3)
    return {"f": 1 - sigma(-f * p.dt), "g": np.tanh(g), "k": np.tanh(k)}


def _output(function):
    """Return the one gate whose value is the new state itself."""
    return lambda p, x, s: {"h": function(p, [x], s)[0][: len(p.W)]}


def _candidate_of_fastgrnn(p, x, h):
    return {"p": p.W @ x + p.U @ h + p.b_ih + p.b_hh}


def _force(p, x, s):
    y, z = rows(s, 2)
    return {"z": np.tanh(p.U @ y + p.U_z @ z + p.W @ x + p.b_ih + p.b_hh)}


def _antisymmetric_gates(p, x, h):
    return {"h": np.tanh((p.U - p.U.T - p.gamma * np.eye(len(h))) @ h + p.W @ x + p.b_ih + p.b_hh)}


def _leaky_gates(p, x, h):
    return {"h": np.tanh(*affine(p, x, h, 1)) if p.form == "rate" else affine(p, x, np.tanh(h), 1)[0]}


def _own_force(p, x, s):
    return {"z": np.tanh(p.w * rows(s, 2)[0] + p.W @ x + p.b_ih)}


def _mlstm_gates(p, x, s):
    """Of every entry of [C; n], the key of its column and the value of its row, 1 for n."""
    heads = p.b.shape[1]
    k, v = (np.reshape(z, (heads, -1)) for z in rows(p.W @ x + p.b_ih, 2))
    d = k.shape[1]
    ones = np.ones((heads, 1))
    return {
        "k": np.concatenate([np.tile(one / np.sqrt(d), d + 1) for one in k]),
        "v": np.repeat(np.concatenate([v, ones], axis=1), d),
    }


def same(a):
    return a


GATES = {
    "antisymmetric": _antisymmetric_gates,
    "cfc": _cfc_gates,
    "cifg_lstm": _each(f=sigma, g=np.tanh, o=sigma),
    "cornn": _force,
    "esn": _each(h=np.tanh),
    "exprnn": _output(exprnn),
    "fastgrnn": _candidate_of_fastgrnn,
    "gru": _gru_gates,
    "indrnn": _output(indrnn),
    "irnn": _output(irnn),
    "janet": _each(f=sigma, g=np.tanh),
    "leaky": _leaky_gates,
    "lem": _lem_gates,
    "linear": _each(h=same),
    "lstm": _each(i=sigma, f=sigma, g=np.tanh, o=sigma),
    "ltc": _each(f=sigma),
    "mgu": _mgu_gates,
    "mingru": _each(z=sigma, n=same),
    "minimal_rnn": _minimal_gate,
    "minlstm": _each(i=sigma, f=sigma, n=same),
    "mlstm": _mlstm_gates,
    "peephole_lstm": _peephole_gates,
    "qrnn": _each(z=np.tanh, f=sigma),
    "nru": _output(nru),
    "rglru": _each(r=sigma, i=sigma, z=same),
    "rnn": _output(rnn),
    "rwkv": _each(k=same, v=same),
    "scrn": _output(scrn),
    "selective_ssm": lambda p, x, s: {"u": np.repeat(p.W @ x + p.b_ih, p.A_log.shape[1])},
    "slstm": _each(i=same, f=sigma, z=np.tanh, o=sigma),
    "sru": _sru_gates,
    "ugrnn": _each(c=np.tanh, g=sigma),
    "unicornn": _own_force,
}
