"""Two recordings of one network: where they first differ, by how much and why; and does this machine compute right?

Here belong pairing names (`matching`, with `naming`, `rules`, `operators`), bringing arrays to one form (`sides`,
`alignment`, `batch`, `fused`, `padding`), measuring and judging differences (`pairing`, `measure`, `tolerances`,
`coverage`), where each arises (`forcing`), looking for their cause (`diagnosis/`), telling them (`report`, `html`), and
the checks that rest on all this (`verify`, `published`, `pytest_plugin`). How activations get into a file is
`recording`'s business.
"""

from aimv2_np.comparison.compare import compare
from aimv2_np.comparison.comparison import Comparison, Diagnosis, Difference
from aimv2_np.comparison.coverage import Coverage
from aimv2_np.comparison.tolerances import Tolerances

__all__ = ["Comparison", "Coverage", "Diagnosis", "Difference", "Tolerances", "compare"]
