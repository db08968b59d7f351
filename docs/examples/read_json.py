"""Read a saved analysis with the standard library."""

import json
from pathlib import Path

result = json.loads(Path("lstm.json").read_text(encoding="utf-8"))
print(result["kind"], result["schema_version"], result["verdict"]["state"])
metrics, series = result["metrics"], result["series"]
print(f"reach {metrics['reach']} steps, rate {metrics['rate']:.4f} nats per step, 95 % {metrics['rate_ci95']}")

norms = series["log10_gradient_norm"]
for t in (0, 50, 99, 100):
    h, c = (norms[part]["median"][t] for part in ("h", "c"))
    print(f"t = {t:3}: log10 |dL/dh_t| = {h:7.2f}, log10 |dL/dc_t| = {'zero' if c is None else f'{c:7.2f}'}")
print("not finite:", result["nonfinite"])
