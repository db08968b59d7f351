"""Let the tests of layouts write files with the helpers of the tests of checkpoints."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "checkpoints"))
