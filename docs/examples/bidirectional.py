"""Save a bidirectional network, a batch of inputs, and the loss gradient for each direction of the upper layer.

Needs torch. Takes a second. Writes into the current folder:

    tagger.pt                     the state dict
    x.npy                         6 sequences of 120 steps, white noise, (6, 120, 16)
    g_forward.npy, g_reverse.npy  dL/dh_t of the upper layer's two directions, (6, 120, 64) each

The loss is the mean cross-entropy of a random label at every step.
"""

import numpy as np
import torch
from torch import nn

torch.manual_seed(0)
model = nn.ModuleDict(
    {
        "encoder": nn.LSTM(16, 64, num_layers=2, bidirectional=True, batch_first=True),
        "head": nn.Linear(2 * 64, 5),
    }
)
x, labels = torch.randn(6, 120, 16), torch.randint(5, (6, 120))

output, _ = model["encoder"](x)
output.retain_grad()
nn.functional.cross_entropy(model["head"](output).transpose(1, 2), labels).backward()
forward, reverse = output.grad.split(64, dim=2)

torch.save(model.state_dict(), "tagger.pt")
for name, values in (("x", x), ("g_forward", forward), ("g_reverse", reverse)):
    np.save(f"{name}.npy", values.numpy())
    print(f"{name}.npy {tuple(values.shape)}")
