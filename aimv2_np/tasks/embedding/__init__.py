"""Features of many pictures in one file.

`embedder` turns a batch of pictures into features, which `columns` adds to it. `sources` finds the pictures, those that
lie elsewhere than in files with `tar`, `zip`, `tables` and `remote`; `pipeline` decodes them. `compute` makes the
features of a run, here or in the processes of `engines`; `identity` is what they depend on. `parts` saves what is done
so that a run can be continued, and `feature_file` writes and reads the one file that is made of it (`npz` and `parquet`
two of its formats). `ledger` is what that file records of its pictures, by which `plan` knows what has to be done when
more come; `checksums` tells pictures by their contents. `stored` is what vectors are in the file. `run.embed` puts
these together.
What is done with features, searching and classifying, belongs to `tasks`.
"""

from aimv2_np.tasks.embedding.embedder import ImageEmbedder
from aimv2_np.tasks.embedding.feature_file import FeatureFile, open_features
from aimv2_np.tasks.embedding.kinds import KINDS
from aimv2_np.tasks.embedding.run import Embedding, embed
from aimv2_np.tasks.embedding.sources import Pictures, find_pictures

__all__ = ["KINDS", "Embedding", "FeatureFile", "ImageEmbedder", "Pictures", "embed", "find_pictures", "open_features"]
