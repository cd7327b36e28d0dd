"""What people do with models and checkpoints, as functions: classify, embed, search, k-NN, probe, convert, describe.

Here stands what combines a model, a processor and files into an answer. What a model computes belongs into `network`
and `models`, how pictures become arrays into `processing`, how checkpoints are read and written into `storage`.
"""

from aimv2_np.tasks.calibration import Calibration
from aimv2_np.tasks.classify import (
    Classification,
    check_templates,
    classify,
    embed_labels,
    load_classifier,
    make_prompts,
)
from aimv2_np.tasks.contact_sheet import draw_groups, draw_sheet, save_sheet
from aimv2_np.tasks.convert import Conversion, convert
from aimv2_np.tasks.describe import Description, describe
from aimv2_np.tasks.duplicates import near_duplicates
from aimv2_np.tasks.embedding import Embedding, FeatureFile, ImageEmbedder, embed, find_pictures, open_features
from aimv2_np.tasks.judged import Judged
from aimv2_np.tasks.knn import KnnResult, knn
from aimv2_np.tasks.labelled import Labelled, knn_folders, load_labelled
from aimv2_np.tasks.probe import Probe, classify_by_probe, load_probe
from aimv2_np.tasks.query import combine_queries, embed_queries, embed_query
from aimv2_np.tasks.search import Hit, recall, search, search_many

__all__ = [
    "Calibration",
    "Classification",
    "Conversion",
    "Description",
    "Embedding",
    "FeatureFile",
    "Hit",
    "ImageEmbedder",
    "Judged",
    "KnnResult",
    "Labelled",
    "Probe",
    "check_templates",
    "classify",
    "classify_by_probe",
    "combine_queries",
    "convert",
    "describe",
    "draw_groups",
    "draw_sheet",
    "embed",
    "embed_labels",
    "embed_queries",
    "embed_query",
    "find_pictures",
    "knn",
    "knn_folders",
    "load_classifier",
    "load_labelled",
    "load_probe",
    "make_prompts",
    "near_duplicates",
    "open_features",
    "recall",
    "save_sheet",
    "search",
    "search_many",
]
