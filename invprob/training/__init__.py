"""Train denoisers and learned proximal networks: settings, batches, the trainer, checkpoints, and what ships."""

from invprob.training.batches import validation_images as validation_images
from invprob.training.export import export as export
from invprob.training.parallel import Team as Team
from invprob.training.proximal_settings import ProximalSettings as ProximalSettings
from invprob.training.settings import DenoiserSettings as DenoiserSettings
from invprob.training.settings import read_settings as read_settings
from invprob.training.trainer import Trainer as Trainer
from invprob.training.validation import validate as validate
