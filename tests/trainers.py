"""What the tests of training do with every trainer."""

import torch


def train(trainer, steps=None):
    while not (trainer.done if steps is None else trainer.step >= steps):
        trainer.advance()
    return trainer


def weights(trainer):
    return torch.cat([w.flatten() for net in (trainer.network, trainer.averaged) for w in net.parameters()]).detach()
