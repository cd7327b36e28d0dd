"""Probes: small classifiers that are trained on the features of a model that stays as it is.

`linear` is logistic regression on one vector per picture, `attentive` learns which tokens to look at, and `held_out`
chooses settings by training pictures that were held out. How a probe is kept in a file and used stands in
`aimv2_np.tasks.probe`.
"""

from aimv2_np.training.probes.attentive import AttentiveFit, train_attentive_probe
from aimv2_np.training.probes.held_out import Tried
from aimv2_np.training.probes.linear import LinearFit, train_linear_probe
from aimv2_np.training.probes.run import ProbeRun, probe_folders

__all__ = [
    "AttentiveFit",
    "LinearFit",
    "ProbeRun",
    "Tried",
    "probe_folders",
    "train_attentive_probe",
    "train_linear_probe",
]
