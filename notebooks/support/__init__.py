"""What the notebooks import beside the package, since they define no functions. Jupyter finds it beside them."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))  # tolerances and golden_models
