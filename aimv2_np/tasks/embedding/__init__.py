"""Features of many pictures in one file.

`embedder` turns a batch of pictures into features, `sources` and `tar` find the pictures, `pipeline` decodes them,
`shards` saves what is done so that a run can be continued, `assemble` makes one file of it (`columns`, `npz`, `parquet`
write the formats), and `feature_file` reads such files. `run.embed` puts these together.
"""

from aimv2_np.tasks.embedding.embedder import ImageEmbedder
from aimv2_np.tasks.embedding.feature_file import FeatureFile, open_features
from aimv2_np.tasks.embedding.kinds import KINDS
from aimv2_np.tasks.embedding.run import Embedding, embed
from aimv2_np.tasks.embedding.sources import Pictures, find_pictures

__all__ = ["KINDS", "Embedding", "FeatureFile", "ImageEmbedder", "Pictures", "embed", "find_pictures", "open_features"]
