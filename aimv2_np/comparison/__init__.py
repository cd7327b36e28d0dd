"""Two recordings of one network: where they first differ, by how much and why; and does this machine compute right?"""

from aimv2_np.comparison.compare import compare
from aimv2_np.comparison.comparison import Comparison, Difference
from aimv2_np.comparison.tolerances import Tolerances

__all__ = ["Comparison", "Difference", "Tolerances", "compare"]
