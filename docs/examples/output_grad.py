"""Why output.grad of nn.LSTM is zero at every step but the last, and what to do instead. Needs torch."""

import torch

torch.manual_seed(0)
x = torch.randn(8, 200, 32, dtype=torch.float64)
lstm = torch.nn.LSTM(32, 128, batch_first=True).double()
output, _ = lstm(x)
output.retain_grad()
output[:, -1].sum().backward()
print("output.grad:", *[f"{output.grad[:, t].norm():.2g}" for t in (0, 100, 198, 199)])

cell = torch.nn.LSTMCell(32, 128).double()
cell.load_state_dict({name[:-3]: w for name, w in lstm.state_dict().items()})
states, (h, c) = [], torch.zeros(2, 8, 128, dtype=torch.float64)
for t in range(200):
    h, c = cell(x[:, t], (h, c))
    h.retain_grad(), c.retain_grad()
    states.append(h)
h.sum().backward()
print("dL/dh_t:    ", *[f"{states[t].grad.norm():.2g}" for t in (0, 100, 198, 199)])
