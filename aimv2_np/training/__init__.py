"""Training: optimizers, schedules, initial weights, batches, and the loop that puts them together and can be killed.

Here belongs what changes weights. Losses are equations and stand in `network`, derivatives in `gradients`; what is done
with a trained model belongs to `tasks`.
"""

from aimv2_np.training.augment import Augmentation
from aimv2_np.training.contrastive import Contrastive
from aimv2_np.training.diverged import DivergedError
from aimv2_np.training.loop import train
from aimv2_np.training.optimizer import AdamW
from aimv2_np.training.pretraining import Pretrain
from aimv2_np.training.recipe import Recipe
from aimv2_np.training.run import MODEL, default_recipe, run_contrastive, run_lit, run_pretraining
from aimv2_np.training.schedule import Schedule

__all__ = [
    "MODEL",
    "AdamW",
    "Augmentation",
    "Contrastive",
    "DivergedError",
    "Pretrain",
    "Recipe",
    "Schedule",
    "default_recipe",
    "run_contrastive",
    "run_lit",
    "run_pretraining",
    "train",
]
