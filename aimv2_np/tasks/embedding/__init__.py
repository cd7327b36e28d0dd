"""Features of many pictures: the unit of work, where the pictures come from, and the file that they end in."""

from aimv2_np.tasks.embedding.embedder import ImageEmbedder
from aimv2_np.tasks.embedding.feature_file import FeatureFile, open_features
from aimv2_np.tasks.embedding.kinds import KINDS
from aimv2_np.tasks.embedding.run import Embedding, embed
from aimv2_np.tasks.embedding.sources import Pictures, find_pictures

__all__ = ["KINDS", "Embedding", "FeatureFile", "ImageEmbedder", "Pictures", "embed", "find_pictures", "open_features"]
