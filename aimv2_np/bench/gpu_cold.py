"""From nothing to the first feature on a GPU: `python -m aimv2_np.bench.gpu_cold FOLDER DTYPE DEVICE PICTURE [WHICH]`.

What it says, and what it looks at without a picture (""), is that of `cold`.
"""

import json
import sys

from aimv2_np.bench.cold import measure

if __name__ == "__main__":
    folder, dtype, device, picture = sys.argv[1:5]
    measure(
        folder, picture, backend="cupy", dtype=dtype, device=int(device), **json.loads("".join(sys.argv[5:]) or "{}")
    )
