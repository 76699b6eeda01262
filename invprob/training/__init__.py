"""Train denoisers, learned proximal networks and tasks of your own: settings, batches, trainer, and what ships."""

from invprob.training.batches import Batch as Batch
from invprob.training.batches import Batches as Batches
from invprob.training.batches import generator_of as generator_of
from invprob.training.batches import validation_images as validation_images
from invprob.training.parallel import Team as Team
from invprob.training.proximal_settings import ProximalSettings as ProximalSettings
from invprob.training.radar_task import RadarSettings as RadarSettings
from invprob.training.settings import DenoiserSettings as DenoiserSettings
from invprob.training.settings import DiffusionSettings as DiffusionSettings
from invprob.training.settings import NoisyImages as NoisyImages
from invprob.training.settings import TrainingSettings as TrainingSettings
from invprob.training.settings import read_settings as read_settings
from invprob.training.task import Task as Task
from invprob.training.trainer import Trainer as Trainer
from invprob.training.validation import validate as validate
from invprob.training.weights_file import export as export
